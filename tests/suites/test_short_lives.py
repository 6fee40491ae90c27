# SPDX-License-Identifier: Apache-2.0
"""Certificates that live for seconds: they change under load and nobody notices, and private keys stay where they were made."""

from __future__ import annotations

import re
import time

import pytest
from examples.demo import traffic
from examples.demo.mesh import CONTROL_PLANE, WORKLOADS
from examples.demo.on_hosts import HostsMesh

from tests.lab.host import Host
from tests.suites.conftest import PROOF, SVID_SECONDS

pytestmark = pytest.mark.hosts

ROTATIONS = 8 if PROOF else 3
REAPPLIED = 100
# A private key is some 100 characters of base64 after such a line; the words alone may stand in a program.
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(?:[A-Za-z0-9+/=]{16,}\s+)+")
KEYS_OF_THE_HOST = "/etc/ssh/ssh_host_"


def _serials(mesh: HostsMesh) -> dict[str, str]:
    """proxy id -> serial number of the certificate that it has now."""
    return {one["id"]: one["svid"]["serial"] for one in mesh.control_plane.proxies()}


def test_certificates_change_under_load(short_lived: HostsMesh) -> None:
    mesh = short_lived
    before = {name: mesh.churn(name) for name in WORKLOADS}
    seen = {proxy: [serial] for proxy, serial in _serials(mesh).items()}
    deadline = time.monotonic() + SVID_SECONDS * (ROTATIONS + 3)
    with traffic.Load(mesh.host("frontend"), "frontend", traffic.REVIEWS) as load:
        while min(len(serials) for serials in seen.values()) <= ROTATIONS and time.monotonic() < deadline:
            for proxy, serial in _serials(mesh).items():
                if serial not in seen[proxy]:
                    seen[proxy].append(serial)
            time.sleep(1)  # certificates change every SVID_SECONDS / 2
    changes = {proxy: len(serials) - 1 for proxy, serials in seen.items()}
    assert len(changes) == len(WORKLOADS) and min(changes.values()) >= ROTATIONS, changes
    assert load.result["failed"] == 0, load.figure()
    after = {name: mesh.churn(name) for name in WORKLOADS}
    assert [name for name in WORKLOADS if after[name].started != before[name].started] == []
    assert {name: after[name].since(before[name]) for name in WORKLOADS} == {name: {} for name in WORKLOADS}


def test_new_connections_are_made_with_the_new_certificate(short_lived: HostsMesh) -> None:
    """What is on disk now is what a peer is shown now."""
    mesh = short_lived
    one = WORKLOADS["frontend"]
    disk = mesh.host("frontend").ssh(f"openssl x509 -noout -serial -in /var/lib/meshwright/agents/{one.proxy_id}/svid.pem").stdout
    told = _serials(mesh)[one.proxy_id]
    assert int(disk.partition("=")[2], 16) == int(told, 16)
    assert traffic.get(mesh.host("frontend"), "frontend", traffic.CATALOG).status == 200


def test_private_keys_are_nowhere_but_on_their_hosts(short_lived: HostsMesh) -> None:
    """Every file that the mesh has written anywhere, every log, every answer of the API: no private key but where it was made."""
    mesh = short_lived
    homes = {one.host: f"/var/lib/meshwright/agents/{one.proxy_id}/" for one in WORKLOADS.values()}
    homes[CONTROL_PLANE] = "/var/lib/meshwright/control-plane/ca/"
    found = {name: _files_with_keys(mesh.lab.host(name)) for name in homes}
    assert all(found.values())  # the search sees the keys where they belong
    assert {name: [path for path in found[name] if not path.startswith(home)] for name, home in homes.items()} == {
        name: [] for name in homes
    }
    for host in mesh.lab.hosts:
        assert PRIVATE_KEY.search(host.ssh("journalctl --no-pager", timeout=120).stdout) is None, f"journal of {host.name}"
    for path in ("/mesh/v1/proxies", "/mesh/v1/nodes", "/mesh/v1/ca", "/mesh/v1/audit?after=0", "/mesh/v1/tokens", "/openapi.json"):
        assert PRIVATE_KEY.search(str(mesh.control_plane.ask("GET", path))) is None, path
    for one in WORKLOADS.values():
        assert PRIVATE_KEY.search(str(mesh.control_plane.ask("GET", f"/mesh/v1/proxies/{one.proxy_id}/config"))) is None
    written = [path for path in mesh.ansible.home.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [str(path) for path in written if PRIVATE_KEY.search(path.read_text(errors="replace"))] == []


def _files_with_keys(host: Host) -> list[str]:
    """Files with a PEM private key that are not the host's own SSH keys, and not of the distribution."""
    places = "/etc /opt/meshwright /var /run /tmp /root /dev/shm"
    listed = host.ssh(f"grep -rlIE -e '-----BEGIN [A-Z ]*PRIVATE KEY-----' {places} 2>/dev/null", check=False, timeout=120).stdout.split()
    keys = [path for path in listed if not path.startswith(KEYS_OF_THE_HOST) and PRIVATE_KEY.search(host.read(path))]
    databases = host.ssh("grep -rlE -e 'BEGIN [A-Z ]*PRIVATE KEY' /var/lib 2>/dev/null", check=False, timeout=120).stdout.split()
    return sorted({*keys, *databases})


def test_what_is_there_already_is_not_written_again(short_lived: HostsMesh) -> None:
    mesh = short_lived
    kind = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices"
    stored = mesh.control_plane.ask("GET", f"{kind}/reviews")
    document = {key: stored[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": {"name": "reviews", "namespace": "shop"}}
    runs = {name: mesh.churn(name) for name in WORKLOADS}
    answers = [mesh.control_plane.answer("PUT", f"{kind}/reviews", document) for _ in range(REAPPLIED)]
    assert {headers["Meshwright-Changed"] for headers, _ in answers} == {"false"}
    # The store's own revision moves with every certificate; that of this document does not.
    assert len({headers["Meshwright-Revision"] for headers, _ in answers}) == 1
    assert mesh.control_plane.ask("GET", f"{kind}/reviews") == stored
    after = {name: mesh.churn(name) for name in WORKLOADS}
    assert {name: after[name].since(runs[name]) for name in WORKLOADS} == {name: {} for name in WORKLOADS}
    again = mesh.ansible.module("meshwright.mesh.resource", {"definition": document})
    assert (again["failed"], again["changed"]) == (False, False), again
