# SPDX-License-Identifier: Apache-2.0
"""The verbs of `meshwright`, and how errors of ours end it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from meshwright.cli.apply import apply, delete
from meshwright.cli.audit import audit
from meshwright.cli.check import check
from meshwright.cli.failure import Bad
from meshwright.cli.get import get
from meshwright.cli.node import node
from meshwright.cli.proxies import proxies, proxy
from meshwright.cli.rollout import rollout
from meshwright.cli.serve import serve
from meshwright.cli.token import token
from meshwright.errors import MeshwrightError


def _version() -> str:
    try:
        return version("meshwright")
    except PackageNotFoundError:
        return "unknown"


class _Root(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MeshwrightError as error:
            path = f"{error.path}: " if error.path else ""
            raise Bad(f"{path}{error.reason}: {error.message}") from error


@click.group(cls=_Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name="meshwright")
def root() -> None:
    """Meshwright: a service mesh that is run from playbooks; its control plane, and what to ask it.

    Ends with 0 when all is well, 1 when what was asked about is not, 2 when it could not be asked. `meshwright agent` runs beside an Envoy.
    """


for _verb in (serve, check, apply, delete, get, proxies, proxy, rollout, token, node, audit):
    root.add_command(_verb)
