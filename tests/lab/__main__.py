# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.lab up NAME... [--inventory FILE]|down [NUMBER...]|clean|status`: test hosts by hand.

`up` writes an inventory with addresses, the SSH key and known_hosts, which `ansible -i FILE` takes as it is: into the lab's directory, when
no FILE is named. Groups and variables of your own go into a second inventory (`-i FILE -i mine.yml`)."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.lab import host, hosts, machine, slot

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def main(words: list[str]) -> int:
    match words:
        case ["up", *names, "--inventory", path] if _are_names(names):
            return _up(names, Path(path))
        case ["up", *names] if _are_names(names):
            return _up(names)
        case ["down", *numbers]:
            chosen = {int(number) for number in numbers}
            gone = hosts.remove_where(lambda one: one.number in chosen or (not chosen and one.kept))
            print(f"removed labs: {gone or 'none'}")
            return 0
        case ["clean"]:
            print(f"removed labs of dead owners: {hosts.clean() or 'none'}")
            return 0
        case ["status"]:
            for one in slot.all_slots():
                state = "kept" if one.kept else "in use" if one.owned else "dead (python -m tests.lab clean)"
                names = sorted(path.name for path in (one.home / "hosts").glob("*"))
                print(f"lab {one.number}: {state}: {' '.join(names)} in {one.home}")
            return 0
    print(__doc__, file=sys.stderr)
    return 2


def _are_names(words: list[str]) -> bool:
    return bool(words) and all(NAME.fullmatch(word) for word in words)


def _up(names: list[str], inventory: Path | None = None) -> int:
    reason = machine.provide()
    if reason:
        print(reason, file=sys.stderr)
        return 3
    with hosts.Lab(names) as lab:
        lab.keep()
        for one in lab.hosts:
            print(f"{one.name}: {one.address} {one.address6}")
        written = lab.inventory(inventory or lab.home / "inventory.json")
        print(f"lab {lab.slot.number} is up; to be root on a host: ssh -F {host.ssh_config(lab.slot)} {names[0]}")
        print(f"with Ansible: ansible -i {written} all -m ping")
        print(f"python -m tests.lab down {lab.slot.number} removes it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
