# SPDX-License-Identifier: Apache-2.0
"""`serve`: the control plane. Its many parts are imported only here, and only when asked for."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import click

from meshwright import config
from meshwright.cli.failure import Unusable
from meshwright.errors import ConfigError


@click.command()
@click.option("-c", "path", type=click.Path(path_type=Path), default=config.DEFAULT_PATH, show_default=True, help="Settings (TOML).")
@click.option("--check", "check_only", is_flag=True, help="Read the settings and end.")
def serve(path: Path, check_only: bool) -> None:
    """Run the control plane until it is told to end."""
    # gRPC reads this when it is imported; else it writes a line for each handshake that a stranger breaks off.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        settings = config.load(path)
        if not check_only:
            importlib.import_module("meshwright.app").run(settings)
    except ConfigError as error:
        raise Unusable(error.message) from error
