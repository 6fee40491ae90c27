# SPDX-License-Identifier: Apache-2.0
"""Crashes at every step of something that writes files: run in a forked child that ends, as by SIGKILL, at its n-th operation on a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

_OPERATIONS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.symlink", "os.rmdir", "os.listdir"})
CRASHED = 137


def crash_at(step: int, directory: Path, action: Callable[[], object]) -> bool:
    """Runs `action` in a child that dies before its operation number `step` (from 1) below `directory`; whether it got so far."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _arm(step, str(directory))
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, CRASHED), code
    return code == CRASHED


def _arm(step: int, directory: str) -> None:
    left = step

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in _OPERATIONS and any(str(a).startswith(directory) for a in arguments[:2]):
            left -= 1
            if left == 0:
                os._exit(CRASHED)

    sys.addaudithook(hook)
