# SPDX-License-Identifier: Apache-2.0
"""The mesh in processes of one user on one machine: what are hosts otherwise are here loopback addresses and ports of their own."""

from __future__ import annotations

import contextlib
import getpass
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from examples.demo import envoy_stats
from examples.demo.control_plane import ControlPlane
from examples.demo.mesh import NAMESPACE, RULES, SHOP, STRANGER, WORKLOADS, KeyFile, Ports
from examples.demo.outside import NAME
from examples.demo.playbook import BIN, Ansible
from examples.demo.processes import Processes
from examples.demo.report import Report

PLAYBOOK = Path(__file__).with_name("local.yml")
ADDRESS = "127.0.0.1"
CANDIDATES = range(16000, 32000)
NAMES = (*(f"{service}.{NAMESPACE}.mesh" for service in ("catalog", "reviews")), NAME)


class LocalHost:
    """The machine itself, as one workload sees it. The mesh's names are not in /etc/hosts here: calls of them go to the workload's own
    Envoy (`outbound`, ADDRESS:PORT), with the name in the Host header."""

    address = ADDRESS
    address6 = ""

    def __init__(self, name: str, home: Path, outbound: str = "") -> None:
        self.name = name
        self.environment = {"SHOP": str(SHOP / "app"), "CURL_HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}"}
        home.mkdir(parents=True, exist_ok=True)
        if outbound:
            self.environment["SHOP_ENVOY"] = outbound
            (home / ".curlrc").write_text("".join(f'connect-to = "{one}:80:{outbound}"\n' for one in NAMES))

    def as_user(self, user: str, command: str) -> list[str]:
        """There is but one user here."""
        return ["env", *(f"{key}={value}" for key, value in self.environment.items()), "sh", "-c", command]

    def run(self, user: str, command: str, *, check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(self.as_user(user, command), capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"`{command[:300]}` gave {done.returncode}: {done.stderr.strip()}\n{done.stdout.strip()[-2000:]}")
        return done


class Directory:
    """Where everything of the local mesh is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("nodes", "agents", "envoy", "state", "run", "tokens", "control-plane", "credentials", "ansible", "hosts"):
            (path / name).mkdir(mode=0o700)

    def of(self, kind: str, workload: str, suffix: str = "") -> Path:
        return self.path / kind / f"{WORKLOADS[workload].proxy_id}{suffix}"

    @property
    def credentials(self) -> Path:
        return self.path / "credentials"

    @property
    def settings(self) -> Path:
        return self.path / "control-plane.toml"


@dataclass(frozen=True, slots=True)
class Doors:
    """Ports of this machine that were free."""

    api: int
    discovery: int
    outside_plain: int
    outside_tls: int
    workloads: Mapping[str, Ports]


def choose_doors() -> Doors:
    """Any that nobody listens on. None of those that the kernel gives to outgoing connections: they have to stay free while what listens
    there is away."""
    candidates = iter(random.sample(CANDIDATES, len(CANDIDATES)))

    def free() -> int:
        for port in candidates:
            with socket.socket() as one, contextlib.suppress(OSError):
                one.bind(("", port))
                return port
        raise RuntimeError(f"no port from {CANDIDATES.start} to {CANDIDATES.stop - 1} is free")

    service = free()
    loopbacks = {name: f"127.{241 + number}.0.1" for number, name in enumerate(WORKLOADS)}
    workloads = {name: Ports(free(), free(), loopbacks[name], service) for name in WORKLOADS}
    return Doors(free(), free(), free(), free(), workloads)


@dataclass
class LocalMesh:
    """`mesh.Mesh` in `processes`."""

    directory: Directory
    doors: Doors
    hosts: Mapping[str, LocalHost]
    processes: Processes
    ansible: Ansible
    control_plane: ControlPlane
    report: Report
    missing: Mapping[str, str]
    playbooks: tuple[str, ...] = (str(PLAYBOOK), RULES)

    @property
    def outside_port(self) -> int:
        return self.doors.outside_plain

    def host(self, workload: str) -> LocalHost:
        return self.hosts[workload]

    @property
    def stranger(self) -> LocalHost:
        return LocalHost(STRANGER, self.directory.path / "hosts" / STRANGER)

    def ports(self, workload: str) -> Ports:
        return self.doors.workloads[workload]

    def certificate(self, workload: str) -> str:
        return (self.directory.of("state", workload) / "svid.pem").read_text()

    def key_file(self, workload: str) -> KeyFile:
        file = self.directory.of("state", workload) / "svid.key"
        return KeyFile(f"{file.stat().st_mode & 0o777:o}", file.owner(), getpass.getuser())

    def churn(self, workload: str) -> envoy_stats.Churn:
        text = self.host(workload).run("", envoy_stats.command(f"{self.directory.of('run', workload)}/admin.sock")).stdout
        return envoy_stats.read(text, self.processes.started(f"envoy-{workload}"))

    @contextlib.contextmanager
    def occupied(self, workload: str, port: int) -> Iterator[None]:
        with socket.socket() as taker:
            taker.bind((self.ports(workload).loopback, port))
            taker.listen()
            yield

    def kill_control_plane(self) -> None:
        self.processes.kill("control-plane")

    def start_control_plane(self) -> None:
        start_control_plane(self.processes, self.directory)

    def outside_rule(self) -> dict[str, Any]:
        """rules/outside.yml with this machine's ports and file."""
        documents = yaml.safe_load((SHOP / "rules" / "outside.yml").read_text())["items"]
        entry, destination = documents
        port = self.ports("frontend").service  # 80 is for root
        entry["spec"]["ports"][0] |= {"number": port, "targetPort": self.doors.outside_tls}
        entry["spec"]["endpoints"][0]["address"] = "localhost"
        destination["spec"]["trafficPolicy"]["tls"]["caCertificates"] = str(self.directory.path / "outside-ca.pem")
        return {"definition": documents}


def host(directory: Directory, doors: Doors, workload: str) -> LocalHost:
    return LocalHost(WORKLOADS[workload].host, directory.path / "hosts" / workload, doors.workloads[workload].outbound)


def start_control_plane(processes: Processes, directory: Directory) -> None:
    processes.start("control-plane", [str(Path(sys.executable).with_name("meshwright")), "serve", "-c", str(directory.settings)])
