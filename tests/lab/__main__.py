# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.lab up NAME...|down [NUMBER...]|clean|status`: test hosts by hand."""

from __future__ import annotations

import re
import sys

from tests.lab import host, hosts, machine, slot

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


def main(words: list[str]) -> int:
    match words:
        case ["up", *names] if names and all(NAME.fullmatch(name) for name in names):
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


def _up(names: list[str]) -> int:
    reason = machine.provide()
    if reason:
        print(reason, file=sys.stderr)
        return 3
    with hosts.Lab(names) as lab:
        lab.keep()
        for one in lab.hosts:
            print(f"{one.name}: {one.address} {one.address6}")
        print(f"lab {lab.slot.number} is up; to be root on a host: ssh -F {host.ssh_config(lab.slot)} {names[0]}")
        print(f"python -m tests.lab down {lab.slot.number} removes it")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
