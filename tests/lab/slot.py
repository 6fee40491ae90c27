# SPDX-License-Identifier: Apache-2.0
"""A lab's number, from which all its names and addresses follow, and its directory, from which it can be removed by anybody later:
claimed atomically, so that several labs can run at once, and marked with its owner, so that leftovers of dead ones are recognised."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE = Path("/var/tmp/meshwright-lab")
HIGHEST = 250


@dataclass(frozen=True, slots=True)
class Slot:
    number: int

    @property
    def home(self) -> Path:
        return STATE / str(self.number)

    @property
    def bridge(self) -> str:
        return f"mw{self.number}"

    def address(self, last: int) -> str:
        return f"10.77.{self.number}.{last}"

    def address6(self, last: int) -> str:
        return f"fd77:{self.number}::{last}"

    def link(self, last: int) -> str:
        """The bridge's end of a host's veth (at most 15 characters)."""
        return f"mw{self.number}-{last}"

    def namespace(self, host: str) -> str:
        return f"mw{self.number}-{host}"

    def host_home(self, host: str) -> Path:
        return self.home / "hosts" / host

    def cgroups(self, host: str) -> list[Path]:
        """Each host has a cgroup of its own: in a shared one, systemd on one host would stop units of another."""
        base = Path("/sys/fs/cgroup")
        name = f"meshwright-lab-{self.number}-{host}"
        if (base / "cgroup.controllers").exists():
            return [base / name]
        return [base / hierarchy / name for hierarchy in ("systemd", "unified") if (base / hierarchy).is_dir()]

    @property
    def kept(self) -> bool:
        return bool(self._owner().get("keep"))

    @property
    def owned(self) -> bool:
        """Whether the owner lives still, or wanted the lab to outlive it."""
        owner = self._owner()
        return bool(owner.get("keep")) or (bool(owner) and _started(owner["pid"]) == owner["started"])

    def keep(self) -> None:
        _write_owner(self.home, keep=True)

    def _owner(self) -> dict[str, Any]:
        try:
            return dict(json.loads((self.home / "owner").read_text()))
        except (FileNotFoundError, ValueError):
            return {}


def claim() -> Slot:
    """Raises RuntimeError when every number is taken."""
    STATE.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="new-", dir=STATE))
    _write_owner(scratch, keep=False)
    for number in range(1, HIGHEST + 1):
        slot = Slot(number)
        if Path(f"/sys/class/net/{slot.bridge}").exists():
            continue
        try:
            scratch.rename(slot.home)  # refused when it is there and not empty
        except OSError:
            continue
        return slot
    shutil.rmtree(scratch)
    raise RuntimeError(f"all {HIGHEST} labs are taken: look at `python -m tests.lab status`")


@contextlib.contextmanager
def removal() -> Iterator[None]:
    """Held while labs of other processes are judged and removed."""
    STATE.mkdir(parents=True, exist_ok=True)
    with (STATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def all_slots(state: Path = STATE) -> list[Slot]:
    found = [Slot(int(path.name)) for path in state.glob("*") if path.name.isdigit()] if state.exists() else []
    return sorted(found, key=lambda slot: slot.number)


def _write_owner(home: Path, *, keep: bool) -> None:
    new = home / "owner.new"
    new.write_text(json.dumps({"pid": os.getpid(), "started": _started(os.getpid()), "keep": keep}))
    new.rename(home / "owner")


def _started(pid: int) -> str:
    """The start time of a process in ticks, which tells it from a later one with the same id; '' when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]
