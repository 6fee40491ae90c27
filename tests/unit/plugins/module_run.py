# SPDX-License-Identifier: Apache-2.0
"""Runs a module of the collection by Ansible's own door for tests: the arguments that a target would get, and what it prints as result."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from ansible.module_utils.testing import patch_module_args


def run_module(
    name: str, options: Mapping[str, Any], *, check: bool = False, diff: bool = False, env: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The module's result; `failed` is always there. `env` are the only variables MESHWRIGHT_* that it sees."""
    module = importlib.import_module(f"ansible_collections.meshwright.mesh.plugins.modules.{name}")
    arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": diff}
    printed = io.StringIO()
    with environment(env or {}), patch_module_args(arguments), contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        module.main()
    return {"failed": False, **json.loads(printed.getvalue())}


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {key: value for key, value in os.environ.items() if key.startswith("MESHWRIGHT_")}
    for key in before:
        del os.environ[key]
    os.environ.update({"MESHWRIGHT_CONFIG": "/nonexistent", **variables})
    try:
        yield
    finally:
        for key in {"MESHWRIGHT_CONFIG", *variables}:
            del os.environ[key]
        os.environ.update(before)
