# SPDX-License-Identifier: Apache-2.0
"""What is there on a host, to compare before and after: files with their hashes, users, units, listeners, processes, the firewall, names.
Left out is what changes by itself (logs, leases, Ansible's own temporary files)."""

from __future__ import annotations

import json
import shlex

from tests.lab.host import Host

SCRIPT = r"""
import hashlib, json, os, subprocess

SKIP = ("/proc", "/sys", "/dev", "/run", "/tmp", "/var/tmp", "/var/log", "/root/.ansible", "/var/lib/systemd", "/var/cache/ldconfig")

def ran(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout.splitlines()

def files():
    for top, directories, names in os.walk("/"):
        directories[:] = [name for name in directories if os.path.join(top, name) not in SKIP]
        for name in names + directories:
            path = os.path.join(top, name)
            state = os.lstat(path)
            what = "%o %d:%d" % (state.st_mode, state.st_uid, state.st_gid)
            if os.path.islink(path):
                what += " -> " + os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    what += " " + hashlib.sha256(file.read()).hexdigest()[:16]
            yield path + " " + what

def runtime():
    for top, directories, names in os.walk("/run"):
        directories[:] = [name for name in directories if os.path.join(top, name) not in
                          ("/run/systemd", "/run/log", "/run/user", "/run/credentials", "/run/sshd", "/run/udev", "/run/lock", "/run/host")]
        yield from (os.path.join(top, name) for name in names + directories)

BACKUPS = {"/etc/" + name + "-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")} | {"/etc/.pwd.lock"}

def backups(line):
    return line.split()[0] in BACKUPS

print(json.dumps({
    "files": sorted(line for line in files() if not backups(line)),
    "runtime": sorted(runtime()),
    "shared memory": sorted(os.listdir("/dev/shm")),
    "users": open("/etc/passwd").read().splitlines(),
    "groups": open("/etc/group").read().splitlines(),
    "firewall": ran("nft", "list", "ruleset"),
    "names": open("/etc/hosts").read().splitlines(),
    "links": sorted(line.split("@")[0].split()[0] for line in ran("ip", "-br", "link")),
    "addresses": sorted(line.split()[0] + " " + word for line in ran("ip", "-br", "addr") for word in line.split()[2:]),
    "routes": sorted(ran("ip", "route", "show", "table", "all") + ran("ip", "rule")),
    "listeners": sorted({" ".join(line.split()[i] for i in (0, 4)) for line in ran("ss", "-Hlntu")}),
    "unit files": sorted(line.split()[0] for line in ran("systemctl", "list-unit-files", "--no-legend")),
    "units": sorted(line.split()[0] + " " + line.split()[3] for line in
                    ran("systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service,socket,timer,path")
                    if not line.startswith(("session", "user", "run-", "systemd-tmpfiles-clean"))),
    "processes": sorted(set(ran("ps", "-eo", "user:32,comm", "--no-headers")) - {"root ps", "root python3"}),
}))
"""


def trace(host: Host) -> dict[str, list[str]]:
    return dict(json.loads(host.ssh(f"python3 -IBc {shlex.quote(SCRIPT)}", timeout=120).stdout))


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """Lines like `users: + NAME...`; empty when nothing is left and nothing missing."""
    found = []
    for what, lines in before.items():
        old, new = set(lines), set(after[what])
        found += [f"{what}: + {line}" for line in sorted(new - old)] + [f"{what}: - {line}" for line in sorted(old - new)]
    return found
