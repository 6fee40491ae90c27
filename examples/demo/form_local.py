# SPDX-License-Identifier: Apache-2.0
"""The demo without hosts: control plane, agents, Envoys and the shop as processes of one ordinary user, in a temporary directory."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.markup import escape
from tests.lab.envoy import envoy_binary

from examples.demo import build, outside
from examples.demo.control_plane import ControlPlane
from examples.demo.mesh import CONTROL_PLANE, INVENTORY, NAMESPACE, RULES, SHOP, WORKLOADS, Mesh
from examples.demo.on_local import ADDRESS, PLAYBOOK, Directory, LocalMesh, choose_doors, host, start_control_plane
from examples.demo.playbook import Ansible
from examples.demo.processes import Processes
from examples.demo.report import Report

START_SECONDS = 60.0
WHOLE = "`make demo` as root on a throw-away Debian 12 machine shows all of it"
MISSING = {"guard": "only root can set the packet filter (nft) that closes the ports of applications"}
LEFT_OUT = {
    "the roles install all of it on bare hosts, over SSH": "there are no hosts; the demo starts the processes itself",
    "agents and Envoys are systemd units with few rights, and come back after a crash": "only root can add units",
    "every application has a user of its own, and so has the mesh": "everything runs as one user",
    "applications find services by their names": "only root can write names to /etc/hosts; calls go to the Envoy's address instead",
    "a host proves who it is by its SSH host key": "only root can read that key; join tokens are used instead",
}


class LocalForm:
    """`reason`: why it isn't the demo on hosts."""

    size = f"1 control plane, {len(WORKLOADS)} services of the shop with an agent and an Envoy each, 1 server outside the mesh"
    left_out: Mapping[str, str] = LEFT_OUT

    def __init__(self, reason: str, report: Report) -> None:
        self.report = report
        self._reason = reason

    def __enter__(self) -> LocalForm:
        self._path = Path(tempfile.mkdtemp(prefix="mw-demo-", dir="/tmp"))  # short: paths of Unix sockets must be
        self.report.title("The demo in local processes")
        lines = (
            f"Why not on hosts: {self._reason}.",
            f"So everything runs as processes of your user on this machine, in {self._path}, which is removed at the end.",
            "Ports and loopback addresses stand for hosts. It is the same control plane, agent, Envoy and configuration.",
            "This can't be shown so: the packet filter around applications (nft), systemd units, separate users, names in",
            f"/etc/hosts, several hosts. {WHOLE}.",
        )
        for line in lines:
            self.report.console.print(f"  [yellow]{escape(line)}[/]", highlight=False)
        self.directory = Directory(self._path)
        self._logs = self._path / "logs"
        self._logs.mkdir()
        self.processes = Processes(self._logs)
        self.doors = choose_doors()
        self.hosts = {name: host(self.directory, self.doors, name) for name in WORKLOADS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.processes.end()
        finally:
            shutil.rmtree(self._path, ignore_errors=True)

    def build(self, home: Path) -> Mesh:
        collections = build.install_collection(home, self.report)
        self.report.title("Control plane, shop, agents and Envoys are started, and the rules are applied")
        control_plane = self._start_control_plane()
        self._start_shop()
        ansible = self._ansible(home, collections)
        build.play(ansible, self.report, str(PLAYBOOK), "--tags", "files")
        for name in WORKLOADS:
            self._enrol(control_plane, name)
        self._start_sidecars()
        build.play(ansible, self.report, str(PLAYBOOK), "--tags", "register")
        build.play(ansible, self.report, RULES)
        self.processes.check()
        return LocalMesh(self.directory, self.doors, self.hosts, self.processes, ansible, control_plane, self.report, MISSING)

    def _start_control_plane(self) -> ControlPlane:
        data = self.directory.path / "control-plane"
        self.directory.settings.write_text(
            f'data_dir = "{data}"\napi_bind = "{ADDRESS}"\napi_port = {self.doors.api}\n'
            f'discovery_bind = "{ADDRESS}"\ndiscovery_port = {self.doors.discovery}\nserver_names = ["{ADDRESS}"]\n'
        )
        start_control_plane(self.processes, self.directory)
        token, root = data / "admin.token", data / "ca" / "root.pem"
        self._wait("the control plane's credentials", lambda: token.exists() and root.exists())
        credentials = self.directory.credentials
        shutil.copy(token, credentials / "token")
        shutil.copy(root, credentials / "ca.pem")
        access = {
            "apiUrl": f"https://{ADDRESS}:{self.doors.api}",
            "tokenFile": str(credentials / "token"),
            "caFile": str(credentials / "ca.pem"),
        }
        (credentials / "config.json").write_text(json.dumps(access))
        control_plane = ControlPlane(credentials)
        self._wait("the control plane", lambda: _answers(control_plane))
        self.report.say(f"control plane: {access['apiUrl']}")
        return control_plane

    def _start_shop(self) -> None:
        app = SHOP / "app"
        for name, one in WORKLOADS.items():
            where = f"{ADDRESS}:{self.doors.workloads[name].application}"
            command = [sys.executable, str(app / f"{one.service}.py"), where, *([one.version] if one.version else [])]
            self.processes.start(f"shop-{name}", command, self.hosts[name].environment)
        certificates = outside.make_certificate(outside.NAME)
        paths = [self.directory.path / f"outside-{part}.pem" for part in ("ca", "cert", "key")]
        for path, text in zip(paths, certificates, strict=True):
            path.touch(mode=0o600)
            path.write_text(text)
        ports = [f"{ADDRESS}:{port}" for port in (self.doors.outside_plain, self.doors.outside_tls)]
        self.processes.start("outside", [sys.executable, str(app / "outside.py"), *ports, str(paths[1]), str(paths[2])])

    def _ansible(self, home: Path, collections: Path) -> Ansible:
        role = collections / "ansible_collections" / "meshwright" / "mesh" / "roles" / "sidecar"
        shared = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ansible_remote_tmp": str(self.directory.path / "ansible"),
            "demo_role": str(role),
            "demo_directory": str(self.directory.path),
            "mesh_address": ADDRESS,
            "meshwright_credentials_dir": str(self.directory.credentials),
            "meshwright_api_port": self.doors.api,
            "meshwright_discovery_port": self.doors.discovery,
        }
        hosts = {one.host: {"mesh_services": [self._service(name)]} for name, one in WORKLOADS.items()}
        hosts |= {CONTROL_PLANE: {"ansible_host": ADDRESS}, "localhost": {}}
        inventory = self.directory.path / "inventory.json"
        inventory.write_text(json.dumps({"all": {"vars": shared, "hosts": hosts}}))
        ansible = Ansible(home, collections, [INVENTORY, inventory], self.report.console)
        ansible.access = {"MESHWRIGHT_CONFIG": str(self.directory.credentials / "config.json")}
        return ansible

    def _service(self, name: str) -> dict[str, Any]:
        """As in the inventory, with this machine's ports."""
        one, ports = WORKLOADS[name], self.doors.workloads[name]
        port = {"name": "http", "number": ports.service, "target_port": ports.application}
        loopback = ".".join(ports.loopback.split(".")[:2])
        said = {"name": one.service, "namespace": NAMESPACE, "ports": [port], "inbound_port": ports.inbound, "loopback": loopback}
        return said | ({"version": one.version} if one.version else {})

    def _enrol(self, control_plane: ControlPlane, name: str) -> None:
        """The node, and a join token for its workload."""
        node = WORKLOADS[name].host
        wanted = json.loads((self.directory.path / "nodes" / f"{node}.json").read_text())
        control_plane.ask("PUT", f"/mesh/v1/nodes/{node}", {"name": node, "workloads": [_enrolled(one) for one in wanted]})
        workload = {"namespace": wanted[0]["namespace"], "name": wanted[0]["name"]}
        made = control_plane.ask("POST", "/mesh/v1/tokens", {"kind": "join", "node": node, "workload": workload, "ttlSeconds": 600})
        file = self.directory.of("tokens", name)
        file.touch(mode=0o600)
        file.write_text(made["token"])

    def _start_sidecars(self) -> None:
        agent = [sys.executable, "-m", "meshwright.agent"]
        for name in WORKLOADS:
            settings = str(self.directory.of("agents", name, ".json"))
            for kind in ("state", "run"):
                self.directory.of(kind, name).mkdir(mode=0o700)
            done = subprocess.run([*agent, "attest", "-c", settings], capture_output=True, text=True, timeout=START_SECONDS, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"{name} got no identity: status {done.returncode}: {done.stderr[-1500:]}")
            self.processes.start(f"agent-{name}", [*agent, "run", "-c", settings])
            bootstrap = ["-c", str(self.directory.of("envoy", name, ".yaml"))]
            options = ["--concurrency", "1", "--disable-hot-restart", "--drain-time-s", "5", "--log-level", "warning"]
            self.processes.start(f"envoy-{name}", [str(envoy_binary()), *bootstrap, *options])
        self.report.say(f"{len(WORKLOADS)} agents and Envoys, each with an identity that it got for a join token")

    def _wait(self, what: str, good: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not good():
            self.processes.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not there after {START_SECONDS:.0f} s")
            time.sleep(0.05)

    def keep_logs(self, home: Path) -> None:
        for log in self._logs.glob("*.log"):
            shutil.copy(log, home / f"process-{log.name}")

    def say_what_is_missing(self) -> None:
        text = f"What is marked ○ can't be shown in local processes. {WHOLE}. Why not here: {self._reason}."
        self.report.console.print(f"[yellow]{escape(text)}[/]", highlight=False)

    def leave_running(self, mesh: Mesh | None) -> None:
        console = self.report.console
        console.print("\nIt is left running until you press Ctrl-C. To look around, in another terminal:", style="bold")
        for key, value in mesh.control_plane.access.items() if mesh is not None else ():
            console.print(f"  export {key}={value}", highlight=False, soft_wrap=True)
        console.print("  .venv/bin/meshwright proxies        # and: get vs -A; proxy frontend-web1.shop", highlight=False)
        page = f"http://{ADDRESS}:{self.doors.workloads['frontend'].application}/"
        console.print(f"  curl -s {page}        # the shop's page", highlight=False, soft_wrap=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


def _enrolled(wanted: dict[str, Any]) -> dict[str, Any]:
    """The API's words for the module's."""
    proxy = {"inboundPort": wanted["inbound_port"], "loopback": wanted["loopback"], "ipFamilies": wanted["ip_families"]}
    return {
        "name": wanted["name"],
        "namespace": wanted["namespace"],
        "serviceAccount": wanted["service_account"],
        "labels": wanted["labels"],
        "proxy": proxy,
    }


def _answers(control_plane: ControlPlane) -> bool:
    try:
        control_plane.proxies()
    except OSError:
        return False
    return True
