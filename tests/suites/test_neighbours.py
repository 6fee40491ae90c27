# SPDX-License-Identifier: Apache-2.0
"""Two workloads on one host: what may be said about one of them leads nobody to the other, and both leave without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from examples.demo import collection, traffic
from examples.demo.playbook import Ansible
from rich.console import Console

from tests.lab import wheelhouse
from tests.lab.host import Host
from tests.lab.hosts import Lab
from tests.lab.trace import difference, trace
from tests.suites.conftest import new_home

pytestmark = pytest.mark.hosts

PORTS = {"front": 8081, "rear": 8082}
SERVICES = [{"name": name, "namespace": name, "workload": name, "port": port} for name, port in PORTS.items()]
# Written by who has a say in the namespace of one workload only: that its port 80 is the other's application.
SNEAKY = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "sneaky", "namespace": "front"},
    "spec": {
        "hosts": ["sneaky.front.mesh"],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "sneaky", "protocol": "HTTP", "targetPort": PORTS["rear"]}],
        "workloadSelector": {"labels": {"app": "front"}},
    },
}


@dataclass(frozen=True)
class Shared:
    host: Host
    ansible: Ansible
    before: dict[str, list[str]]


@pytest.fixture(scope="module")
def shared(can_have_hosts: None) -> Iterator[Shared]:
    home = new_home("neighbours")
    with Lab(["mesh", "both"]) as lab:
        both = lab.host("both")
        for name, port in PORTS.items():
            both.ssh(f"mkdir -p /srv/{name} && echo '{json.dumps({'name': name})}' > /srv/{name}/index.html")
            serve = f"python3 -m http.server --bind 0.0.0.0 --directory /srv/{name} {port}"
            both.ssh(f"systemd-run --quiet --unit=app-{name} --property=User=nobody {serve}")
        variables = {
            "meshwright_credentials_dir": str(home / "credentials"),
            "meshwright_wheelhouse": str(wheelhouse.wheelhouse()),
        }
        groups = {"mesh_control_plane": ["mesh"], "mesh_sidecars": ["both"]}
        inventory = lab.inventory(home / "lab.yml", {"both": {"mesh_services": SERVICES}}, groups, variables)
        ansible = Ansible(home, collection.install(home), [inventory], Console(stderr=True))
        ansible.access = {"MESHWRIGHT_CONFIG": str(home / "credentials" / "config.json")}
        before = trace(both)
        ansible.play("meshwright.mesh.site").raise_for_failure()
        yield Shared(both, ansible, before)


def _user(host: Host, workload: str) -> str:
    """As whom the Envoy of a workload runs."""
    return host.ssh(f"systemctl show --property=User --value meshwright-envoy@{workload}.{workload}.service").stdout.strip()


def test_each_is_called_by_its_name_as_soon_as_the_playbook_has_ended(shared: Shared) -> None:
    found = {name: traffic.get(shared.host, "root", f"http://{name}.{name}.mesh/").body for name in PORTS}
    assert found == {name: {"name": name} for name in PORTS}


@pytest.mark.parametrize("address", ["127.0.0.1", "HOST"])
def test_a_sidecar_calls_the_application_of_its_own_workload_only(shared: Shared, address: str) -> None:
    at = shared.host.address if address == "HOST" else address
    reached = {
        (caller, called): traffic.get(shared.host, _user(shared.host, caller), f"http://{at}:{port}/").error
        for caller in PORTS
        for called, port in PORTS.items()
    }
    refused = "connection refused"
    assert reached == {("front", "front"): "", ("front", "rear"): refused, ("rear", "front"): refused, ("rear", "rear"): ""}


def test_no_sidecar_speaks_as_its_neighbour(shared: Shared) -> None:
    """The second workload's listener for its application answers that application, and not the sidecar of the first."""
    call = ("http://127.241.0.1/", "-H", "host: rear.rear.mesh")
    assert traffic.get(shared.host, "nobody", *call).status == 200
    assert traffic.get(shared.host, _user(shared.host, "front"), *call).error == "connection refused"


def test_a_target_port_leads_to_no_neighbour(shared: Shared) -> None:
    stored = shared.ansible.module("meshwright.mesh.resource", {"definition": SNEAKY})
    assert not stored["failed"], stored
    assert traffic.get(shared.host, "root", "http://sneaky.front.mesh/").status == 503
    assert traffic.get(shared.host, "root", "http://rear.rear.mesh/").status == 200
    refused = shared.host.ssh("nft list table inet meshwright | grep 'skuid . tcp dport'").stdout
    assert "packets 0 " not in refused


@pytest.mark.parametrize("path", ["svid.key", "bundle.pem"])
def test_a_sidecar_reads_nothing_of_its_neighbours(shared: Shared, path: str) -> None:
    command = f"cat /var/lib/meshwright/agents/rear.rear/{path}"
    assert shared.host.run(_user(shared.host, "rear"), command, check=False).returncode == 0
    assert "Permission denied" in shared.host.run(_user(shared.host, "front"), command, check=False).stderr


def test_one_that_is_no_longer_declared_leaves_with_its_user(shared: Shared) -> None:
    gone, kept = _user(shared.host, "rear"), _user(shared.host, "front")
    shared.ansible.play("meshwright.mesh.site", "-e", json.dumps({"mesh_services": SERVICES[:1]})).raise_for_failure()
    there = shared.host.ssh("cut -d: -f1 /etc/passwd").stdout.split()
    assert kept in there and gone not in there
    shared.ansible.play("meshwright.mesh.site").raise_for_failure()
    again = shared.ansible.play("meshwright.mesh.site")
    assert (again.status, again.changed, again.failed) == (0, 0, 0)


def test_both_leave_without_a_trace(shared: Shared) -> None:
    assert difference(shared.before, trace(shared.host))
    shared.ansible.play("meshwright.mesh.remove").raise_for_failure()
    assert difference(shared.before, trace(shared.host)) == []
