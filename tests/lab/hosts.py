# SPDX-License-Identifier: Apache-2.0
"""A lab of test hosts: `with Lab(["mesh", "web1"]) as lab: lab.host("web1").ssh("id")`. Needs what `machine.provide` says."""

from __future__ import annotations

import json
import shutil
import subprocess
import types
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tests.lab import base, host, inotify, machine, network, slot
from tests.lab.host import Host
from tests.lab.slot import Slot

OUTSIDE = "outside.lab"  # a name every host knows for the controller's addresses: the world that is not in the mesh
FIRST = 10


class Lab:
    """Some hosts on a network of their own. Leaving the block removes all of it, unless `keep()` was called."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.hosts: tuple[Host, ...] = ()

    def __enter__(self) -> Self:
        reason = machine.provide()
        if reason:
            raise RuntimeError(reason)
        clean()
        root = base.root()
        self.slot = slot.claim()
        try:
            inotify.allow()
            self._make(root)
        except BaseException:
            remove(self.slot)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None) -> None:
        if not self.slot.kept:
            remove(self.slot)
            for one in self.hosts:
                one.kill()  # takes the exit status of what has ended

    @property
    def home(self) -> Path:
        return self.slot.home

    @property
    def controller(self) -> str:
        return self.slot.address(network.CONTROLLER)

    @property
    def controller6(self) -> str:
        return self.slot.address6(network.CONTROLLER)

    def host(self, name: str) -> Host:
        return next(one for one in self.hosts if one.name == name)

    def keep(self) -> None:
        """The lab stays when this process ends, until `python -m tests.lab down`."""
        self.slot.keep()

    def inventory(
        self,
        path: Path,
        host_vars: Mapping[str, Mapping[str, Any]] | None = None,
        groups: Mapping[str, Sequence[str]] | None = None,
        group_vars: Mapping[str, Any] | None = None,
    ) -> Path:
        """Writes an Ansible inventory of the hosts (JSON, which is YAML) to `path`; `group_vars` are those of `all`."""
        identity, *others = host.ssh_options(self.slot).items()
        shared = {
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_private_key_file": identity[1],
            "ansible_ssh_common_args": " ".join(f"-o {key}={value}" for key, value in others),
        }
        members = {one.name: {"ansible_host": one.address, **(host_vars or {}).get(one.name, {})} for one in self.hosts}
        children: dict[str, Any] = {group: {"hosts": {name: {} for name in names}} for group, names in (groups or {}).items()}
        document = {"all": {"vars": shared | dict(group_vars or {}), "hosts": members, "children": children}}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")
        return path

    def _make(self, root: Path) -> None:
        network.make_bridge(self.slot)
        key = self.home / "id"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "meshwright-lab", "-f", str(key)], check=True)
        public = key.with_suffix(".pub").read_text()
        self.hosts = tuple(Host(self.slot, name, FIRST + i) for i, name in enumerate(self.names))
        for one in self.hosts:
            one.make(root, self._hosts_file(), public)
        lines = (f"{one.address},{one.address6},{one.name} {one.public_key}\n" for one in self.hosts)
        (self.home / "known_hosts").write_text("".join(lines))
        host.write_ssh_config(self.slot, self.hosts)
        for one in self.hosts:
            one.boot()
        with ThreadPoolExecutor(max_workers=len(self.hosts) or 1) as pool:
            list(pool.map(Host.wait, self.hosts))

    def _hosts_file(self) -> str:
        lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
        for one in self.hosts:
            lines += [f"{one.address} {one.name}", f"{one.address6} {one.name}"]
        lines += [f"{self.controller} {OUTSIDE}", f"{self.controller6} {OUTSIDE}"]
        return "\n".join(lines) + "\n"


def remove(gone: Slot) -> None:
    """Removes a lab, whoever made it and however far it got."""
    home = gone.home
    for control in home.glob("c-*"):
        subprocess.run(["ssh", "-F", "/dev/null", "-o", f"ControlPath={control}", "-O", "exit", "lab"], capture_output=True, check=False)
    for directory in sorted((home / "hosts").glob("*")):
        host.remove(gone, directory.name)
    network.remove_bridge(gone)
    shutil.rmtree(home, ignore_errors=True)
    inotify.put_back()


def clean() -> list[int]:
    """Removes the labs whose owners died; the numbers of what was removed."""
    return remove_where(lambda one: not one.owned)


def remove_where(unwanted: Callable[[Slot], bool]) -> list[int]:
    """Removes labs of others; one process at a time, so that nobody removes what was just made anew under the same number."""
    removed = []
    with slot.removal():
        for one in slot.all_slots():
            if unwanted(one):
                remove(one)
                removed.append(one.number)
    return removed
