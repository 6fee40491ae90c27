# SPDX-License-Identifier: Apache-2.0
"""How many inotify instances there may be. Every host's systemd takes several, all of this machine's root, to whom the kernel gives 128:
enough for 18 hosts, and then path units don't start. It is raised while there are labs, and put back after the last one."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from tests.lab import slot

SETTING = Path("/proc/sys/fs/inotify/max_user_instances")
ENOUGH = 8192


def allow(setting: Path = SETTING, state: Path = slot.STATE) -> None:
    """When a lab has claimed its slot. Where the setting can't be written nothing happens: fewer hosts fit then."""
    with _lock(state), contextlib.suppress(OSError):
        before = int(setting.read_text())
        if before < ENOUGH:
            _kept(state).write_text(str(before))
            setting.write_text(str(ENOUGH))


def put_back(setting: Path = SETTING, state: Path = slot.STATE) -> None:
    """When a lab is removed; does nothing while there is another one, nor when somebody else has set it meanwhile."""
    with _lock(state), contextlib.suppress(OSError):
        if slot.all_slots(state) or not _kept(state).exists():
            return
        if int(setting.read_text()) == ENOUGH:
            setting.write_text(_kept(state).read_text())
        _kept(state).unlink()


def _kept(state: Path) -> Path:
    return state / "inotify-before"


@contextlib.contextmanager
def _lock(state: Path) -> Iterator[None]:
    state.mkdir(parents=True, exist_ok=True)
    with (state / "inotify-lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
