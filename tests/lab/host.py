# SPDX-License-Identifier: Apache-2.0
"""One test host: an overlay on the base root, booted by systemd-nspawn in its own network namespace and cgroup, and reached by SSH."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

from tests.lab import network
from tests.lab.slot import Slot

BOOT_SECONDS = 90.0


class Host:
    """`ssh` speaks to it as root; `name` is its host name, too."""

    def __init__(self, slot: Slot, name: str, last: int) -> None:
        self.slot = slot
        self.name = name
        self.address = slot.address(last)
        self.address6 = slot.address6(last)
        self.home = slot.host_home(name)
        self.root = self.home / "root"
        self._last = last
        self._process: subprocess.Popen[bytes] | None = None

    def make(self, base: Path, hosts_file: str, authorized_key: str) -> None:
        """Everything but booting: the overlay, the host's own key (so that the key is known before anybody asks the host), the link."""
        for part in ("upper", "work", "root"):
            (self.home / part).mkdir(parents=True)
        (self.home / "link").write_text(self.slot.link(self._last))
        network.make_link(self.slot, self.name, self._last)
        layers = f"lowerdir={base},upperdir={self.home}/upper,workdir={self.home}/work"
        subprocess.run(["mount", "-t", "overlay", "meshwright-lab", "-o", layers, str(self.root)], check=True)
        self._write("etc/hostname", f"{self.name}\n")
        self._write("etc/hosts", hosts_file)
        self._write("etc/machine-id", f"{uuid.uuid4().hex}\n")
        self._write("root/.ssh/authorized_keys", authorized_key, mode=0o600)
        key = self.root / "etc/ssh/ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)], check=True)

    @property
    def public_key(self) -> str:
        """The host's key as in known_hosts: type and base64, read from its disk and not from the network."""
        return " ".join((self.root / "etc/ssh/ssh_host_ed25519_key.pub").read_text().split()[:2])

    def boot(self) -> None:
        """Starts it; `wait` says when it is there."""
        groups = self.slot.cgroups(self.name)
        for group in groups:
            group.mkdir(exist_ok=True)
        join = "".join(f"echo $$ > {shlex.quote(str(group / 'cgroup.procs'))}; " for group in groups)
        command = [
            "systemd-nspawn",
            f"--directory={self.root}",
            f"--machine=mw{self.slot.number}-{self.name}",
            f"--hostname={self.name}",
            f"--network-namespace-path=/run/netns/{self.slot.namespace(self.name)}",
            "--boot",
            "--quiet",
            "--register=no",
            "--keep-unit",
            "--capability=CAP_NET_ADMIN",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
        ]
        script = f"{join}exec {shlex.join(command)}"
        with (self.home / "console.log").open("ab") as console:
            self._process = subprocess.Popen(
                ["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )

    def wait(self) -> None:
        """Until SSH answers and systemd has started everything. Raises RuntimeError with the end of the console."""
        deadline = time.monotonic() + BOOT_SECONDS
        while not self._has_sshd():
            if time.monotonic() > deadline or (self._process is not None and self._process.poll() is not None):
                console = (self.home / "console.log").read_text(errors="replace")
                raise RuntimeError(f"{self.name} did not come up within {BOOT_SECONDS:.0f} s:\n{console[-2000:]}")
            time.sleep(0.05)
        self.ssh("systemctl is-system-running --wait", check=False, timeout=BOOT_SECONDS)

    def ssh_command(self) -> list[str]:
        """`ssh ... NAME` without the remote command; host keys are checked against the lab's known_hosts."""
        return ["ssh", "-F", str(ssh_config(self.slot)), self.name]

    def ssh(self, command: str, *, check: bool = True, timeout: float = 60.0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs a shell command as root. Raises RuntimeError (with what it said) when it fails and `check`, TimeoutExpired."""
        done = subprocess.run([*self.ssh_command(), command], input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(
                f"{self.name}: `{command[:300]}` gave {done.returncode}: {done.stderr.strip()}\n{done.stdout.strip()[-2000:]}"
            )
        return done

    def run(self, user: str, command: str, *, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """As `ssh`, as another user of the host."""
        return self.ssh(_as_user(user, command), check=check, timeout=timeout)

    def as_user(self, user: str, command: str) -> list[str]:
        """The words that run a shell command as one of its users, for who wants to hold the process."""
        return [*self.ssh_command(), _as_user(user, command)]

    def start(self, command: str) -> subprocess.Popen[str]:
        """Runs a shell command as root in the background; the caller waits for it."""
        return subprocess.Popen(
            [*self.ssh_command(), command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def put(self, path: str, text: str, *, mode: int = 0o644) -> None:
        quoted = shlex.quote(path)
        self.ssh(f"mkdir -p $(dirname {quoted}) && cat > {quoted} && chmod {mode:o} {quoted}", stdin=text)

    def read(self, path: str) -> str:
        return self.ssh(f"cat {shlex.quote(path)}").stdout

    def kill(self) -> None:
        """Ends all of it at once, as a power cut does; `boot` and `wait` bring it back with its disk."""
        kill_members(self.slot, self.name)
        if self._process is not None:
            self._process.wait(timeout=30)
            self._process = None

    def _write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def _has_sshd(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                connection.settimeout(2)
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False


def _as_user(user: str, command: str) -> str:
    return f"runuser -u {shlex.quote(user)} -- sh -c {shlex.quote(command)}"


def ssh_options(slot: Slot) -> dict[str, str]:
    home = slot.home
    return {
        "IdentityFile": str(home / "id"),
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": str(home / "known_hosts"),
        "GlobalKnownHostsFile": "/dev/null",
        "ConnectTimeout": "10",
        "LogLevel": "ERROR",
    }


def write_ssh_config(slot: Slot, hosts: tuple[Host, ...]) -> None:
    """So that `ssh -F HOME/ssh_config NAME` is all one needs."""
    shared = ssh_options(slot) | {"User": "root", "ControlMaster": "auto", "ControlPersist": "60", "ControlPath": str(slot.home / "c-%C")}
    lines = [line for one in hosts for line in (f"Host {one.name}", f"  HostName {one.address}")]
    lines += ["Host *", *(f"  {key} {value}" for key, value in shared.items())]
    ssh_config(slot).write_text("\n".join(lines) + "\n")


def ssh_config(slot: Slot) -> Path:
    return slot.home / "ssh_config"


def remove(slot: Slot, name: str) -> None:
    """Takes down what is there of a host: by its lab's directory alone, so that anybody can do it, at any stage of its life."""
    kill_members(slot, name)
    home = slot.host_home(name)
    subprocess.run(["umount", "--lazy", str(home / "root")], capture_output=True, check=False)
    with contextlib.suppress(FileNotFoundError):
        network.remove_link(slot, name, (home / "link").read_text())
    for group in slot.cgroups(name):
        _remove_group(group)
    shutil.rmtree(home, ignore_errors=True)


def kill_members(slot: Slot, name: str) -> None:
    """KILL to every process in the host's cgroup until none is left (at most 20 s)."""
    deadline = time.monotonic() + 20
    while pids := _members(slot.cgroups(name)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name}: processes {sorted(pids)} don't end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _members(groups: list[Path]) -> set[int]:
    found: set[int] = set()
    for group in groups[:1]:
        for listing in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(pid for pid in map(int, listing.read_text().split()) if pid > 0 and not _is_zombie(pid))
    return found


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _remove_group(group: Path) -> None:
    for directory in sorted(group.rglob("*"), key=lambda path: len(path.parts), reverse=True):
        if directory.is_dir():
            with contextlib.suppress(OSError):
                directory.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
