# SPDX-License-Identifier: Apache-2.0
"""What test hosts need of the machine they run on, and getting it where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess

# command -> Debian package that has it
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "debootstrap": "debootstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "setsid": "util-linux",
}


def provide() -> str:
    """Installs missing tools (root, Debian). '' when test hosts can run here, else the reason why they can't and what to do about it."""
    if os.geteuid() != 0:
        return "test hosts need root: run as root (in a throw-away machine)"
    packages = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if packages:
        refused = install(packages)
        if refused:
            return refused
    if not _has_overlay():
        return "test hosts need overlayfs in the kernel: modprobe overlay"
    probe = subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, text=True, check=False)
    return "" if probe.returncode == 0 else f"test hosts need mount and network namespaces: {probe.stderr.strip()}"


def install(packages: list[str]) -> str:
    """apt-get install; '' or the reason why not."""
    if shutil.which("apt-get") is None:
        return f"missing and no apt-get here: install {' '.join(packages)}"
    print(f"installing {' '.join(packages)} ...", flush=True)
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            return f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()[-300:]}"
    return ""


def _has_overlay() -> bool:
    def listed() -> bool:
        with open("/proc/filesystems", encoding="ascii") as file:
            return any(line.split()[-1] == "overlay" for line in file if line.strip())

    if not listed() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "overlay"], capture_output=True, check=False)
    return listed()
