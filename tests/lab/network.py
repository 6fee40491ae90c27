# SPDX-License-Identifier: Apache-2.0
"""A lab's network: one bridge, for each host a network namespace with one end of a veth in it. IPv4 and IPv6, and no way out: hosts
reach each other and the controller's address on the bridge, nothing else."""

from __future__ import annotations

import subprocess

from tests.lab.slot import Slot

CONTROLLER = 1


def make_bridge(slot: Slot) -> None:
    _ip("link", "add", slot.bridge, "type", "bridge")
    _ip("addr", "add", f"{slot.address(CONTROLLER)}/24", "dev", slot.bridge)
    _ip("addr", "add", f"{slot.address6(CONTROLLER)}/64", "dev", slot.bridge, "nodad")
    _ip("link", "set", slot.bridge, "up")


def make_link(slot: Slot, host: str, last: int) -> None:
    """`host0` with the addresses that end in `last`, in a namespace of the host's own."""
    space, link = slot.namespace(host), slot.link(last)
    _ip("netns", "add", space)
    _ip("link", "add", link, "type", "veth", "peer", "name", "host0", "netns", space)
    _ip("link", "set", link, "master", slot.bridge, "up")
    _ip("-n", space, "link", "set", "lo", "up")
    _ip("-n", space, "addr", "add", f"{slot.address(last)}/24", "dev", "host0")
    _ip("-n", space, "addr", "add", f"{slot.address6(last)}/64", "dev", "host0", "nodad")
    _ip("-n", space, "link", "set", "host0", "up")
    # as on a real host, whatever this machine's setting is: ports under 1024 need a capability
    _ip("netns", "exec", space, "sh", "-c", "echo 1024 > /proc/sys/net/ipv4/ip_unprivileged_port_start")


def remove_link(slot: Slot, host: str, link: str) -> None:
    """The veth by itself, too: sockets that still say good-bye keep a namespace alive for minutes after its deletion. Nothing happens where
    there is none."""
    subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)
    subprocess.run(["ip", "netns", "delete", slot.namespace(host)], capture_output=True, check=False)


def remove_bridge(slot: Slot) -> None:
    subprocess.run(["ip", "link", "delete", slot.bridge], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")
