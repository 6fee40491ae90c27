# SPDX-License-Identifier: Apache-2.0
"""What the compiled configuration does to real calls: two sidecars, their certificates, an application behind one of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from meshwright.model.decode import decode
from meshwright.model.identity import ProxyId
from meshwright.model.proxy import EnrolledWorkload, Node, ProxySettings
from meshwright.model.world import Change, World, allocate_vips
from tests.envoy.static_mesh import Applications, Authority, Envoy, direct, exchange, free_port, get
from tests.golden.case import snapshots

pytestmark = pytest.mark.envoy
REVIEWS = "reviews.shop.mesh"


class Ports(NamedTuple):
    """Of the services (`closed`: TCP that no policy allows) and of the inbound listener."""

    http: int
    tcp: int
    closed: int
    inbound: int


class Mesh(NamedTuple):
    """Addresses and ports of a running mesh; `suspect` is the loopback address of a caller that expects another
    identity of reviews, `suspicious` its Envoy."""

    http: int
    tcp: int
    closed: int
    inbound: int
    suspect: str
    suspicious: Envoy
    authority: Authority

    def get(self, path: str, host: str = REVIEWS, **headers: str) -> tuple[int, Any]:
        return get("127.240.0.1", self.http, path, Host=host, **headers)

    def direct(self, identity: Path | None, data: bytes, port: int = 0) -> bytes:
        host = "db.shop.mesh" if port else REVIEWS
        return direct(self.inbound, f"outbound_.{port or self.http}_._.{host}", identity, data)

    def ask(self, identity: Path | None, path: str = "/") -> bytes:
        """The status line."""
        request = f"GET {path} HTTP/1.1\r\nHost: {REVIEWS}\r\n\r\n".encode()
        return self.direct(identity, request).partition(b"\r\n")[0]


def documents(ports: Ports, applications: Applications) -> list[tuple[str, str, dict[str, Any]]]:
    inside = {"location": "MESH_INTERNAL", "resolution": "STATIC", "workloadSelector": {"labels": {"app": "reviews"}}}
    web = {"number": ports.http, "name": "http", "protocol": "HTTP", "targetPort": applications.http_port}
    echo = {"number": ports.tcp, "name": "tcp", "protocol": "TCP", "targetPort": applications.tcp_port}
    closed = {"number": ports.closed, "name": "closed", "protocol": "TCP", "targetPort": applications.other_port}
    open_ports = {"ports": [str(applications.http_port), str(applications.tcp_port)]}
    nowhere = {"hosts": ["unanswered.invalid"], "resolution": "DNS", "ports": [{"number": ports.http, "name": "http", "protocol": "HTTP"}]}
    callers = {"principals": ["cluster.local/ns/shop/sa/web", "*al/ns/shop/sa/end"]}
    return [
        ("ServiceEntry", "reviews", {"hosts": [REVIEWS], "ports": [web], **inside}),
        ("ServiceEntry", "db", {"hosts": ["db.shop.mesh"], "ports": [echo, closed], **inside}),
        ("ServiceEntry", "nowhere", nowhere),
        ("WorkloadEntry", "reviews", {"address": "127.0.0.1", "labels": {"app": "reviews"}}),
        ("VirtualService", "reviews", {"hosts": ["reviews"], "http": rules()}),
        (
            "AuthorizationPolicy",
            "deny",
            {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/admin*"], "ports": [str(applications.http_port)]}}]}]},
        ),
        ("AuthorizationPolicy", "allow", {"rules": [{"from": [{"source": callers}], "to": [{"operation": open_ports}]}]}),
    ]


def rules() -> list[dict[str, Any]]:
    nowhere = [{"destination": {"host": "gone"}}]
    here = [{"destination": {"host": "reviews"}}]
    return [
        {"match": [{"uri": {"exact": "/nowhere"}}], "route": nowhere},
        {"match": [{"uri": {"prefix": "/quiet"}, "withoutHeaders": {"x-debug": {"exact": "1"}}}], "route": nowhere},
        {"match": [{"uri": {"prefix": "/half"}}], "route": [{**here[0], "weight": 50}, {**nowhere[0], "weight": 50}]},
        {"route": here},
    ]


def world_of(ports: Ports, applications: Applications, account: str) -> World:
    world = World.empty()
    workloads = (
        EnrolledWorkload(
            name="reviews", namespace="shop", service_account=account, proxy=ProxySettings(inbound_port=ports.inbound, loopback="127.242")
        ),
        EnrolledWorkload(name="web", namespace="shop", service_account="web"),
        EnrolledWorkload(name="suspect", namespace="shop", service_account="web", proxy=ProxySettings(loopback="127.241")),
    )
    world, _ = world.apply([Change(node_name="vm", node=Node(name="vm", workloads=workloads))], 1)
    for kind, name, spec in documents(ports, applications):
        group = "security" if kind == "AuthorizationPolicy" else "networking"
        metadata = {"name": name, "namespace": "shop"}
        resource = decode({"apiVersion": f"{group}.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec})
        resource = allocate_vips(world, resource) if kind == "ServiceEntry" else resource
        world, _ = world.apply([Change(ref=resource.ref, resource=resource)], 2)
    return world


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("mesh")
    applications = Applications()
    ports = Ports(free_port(), free_port(), free_port(), free_port())
    authority = Authority(root / "ca")
    snapshot = snapshots(world_of(ports, applications, "reviews"))
    elsewhere = snapshots(world_of(ports, applications, "somebody-else"))
    web = authority.issue("web")
    envoys = [
        Envoy(root / "reviews", snapshot[ProxyId("reviews", "shop")], authority.issue("reviews")),
        Envoy(root / "web", snapshot[ProxyId("web", "shop")], web),
        Envoy(root / "suspect", elsewhere[ProxyId("suspect", "shop")], web),
    ]
    try:
        for envoy in envoys:
            envoy.wait_until_live()
        yield Mesh(*ports, "127.241.0.1", envoys[2], authority)
    finally:
        for envoy in envoys:
            envoy.stop()
        applications.stop()


def test_a_call_arrives_and_the_application_sees_who_called(mesh: Mesh) -> None:
    status, asked = mesh.get("/a?b=c", x_forwarded_client_cert="URI=spiffe://cluster.local/ns/shop/sa/boss")
    assert status == 200
    assert asked["path"] == "/a?b=c"
    assert asked["headers"]["x-forwarded-client-cert"].endswith("URI=spiffe://cluster.local/ns/shop/sa/web")
    assert "boss" not in asked["headers"]["x-forwarded-client-cert"]


def test_every_name_of_the_service_leads_to_it(mesh: Mesh) -> None:
    for host in (REVIEWS, f"{REVIEWS}:{mesh.http}", "reviews", "reviews.shop", "reviews.shop.svc.cluster.local"):
        assert mesh.get("/", host)[0] == 200


def test_other_names_are_refused(mesh: Mesh) -> None:
    assert mesh.get("/", "example.com")[0] == 502
    assert mesh.get("/", "127.240.0.1")[0] == 502


def test_a_rule_that_leads_nowhere_says_so(mesh: Mesh) -> None:
    status, body = mesh.get("/nowhere")
    assert status == 500
    assert "shop/reviews#0 leads nowhere" in body


def test_half_of_a_split_that_leads_nowhere_fails_and_half_arrives(mesh: Mesh) -> None:
    assert {mesh.get("/half")[0] for _ in range(60)} == {200, 500}


def test_without_headers_holds_for_a_header_that_is_not_there(mesh: Mesh) -> None:
    assert mesh.get("/quiet")[0] == 500
    assert mesh.get("/quiet", x_debug="0")[0] == 500
    assert mesh.get("/quiet", x_debug="1")[0] == 200


def test_a_denied_path_is_denied_however_it_is_written(mesh: Mesh) -> None:
    for path in ("/admin", "/admin/x", "//admin", "/x/../admin", "/%61dmin", "/./admin?x=/"):
        assert mesh.get(path)[0] == 403, path
    assert mesh.get("/Admin")[0] == 200


def test_a_websocket_goes_through_both_sidecars(mesh: Mesh) -> None:
    request = f"GET /ws HTTP/1.1\r\nHost: {REVIEWS}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
    answer = exchange("127.240.0.1", mesh.http, request.encode() + b"ping")
    assert answer.startswith(b"HTTP/1.1 101")
    assert answer.endswith(b"echo:ping")


def test_tcp_goes_through_both_sidecars(mesh: Mesh) -> None:
    assert exchange("127.240.0.3", mesh.tcp, b"hello") == b"echo:hello"


def test_tcp_that_no_policy_allows_is_closed(mesh: Mesh) -> None:
    assert exchange("127.240.0.3", mesh.closed, b"hello") == b""


def test_a_name_that_nobody_answers_for_holds_nothing_up(mesh: Mesh) -> None:
    """That the Envoys came up at all is half of it."""
    assert mesh.get("/", "unanswered.invalid")[0] == 503


def test_who_has_another_identity_than_the_one_expected_gets_no_call(mesh: Mesh) -> None:
    assert get(mesh.suspect, mesh.http, "/", Host=REVIEWS)[0] == 503
    assert sum(mesh.suspicious.stats("fail_verify_san").values()) > 0


def test_callers_are_known_by_their_certificate(mesh: Mesh) -> None:
    again = Authority(mesh.authority.root / "again")
    again.key, again.name, again.certificate = mesh.authority.key, mesh.authority.name, mesh.authority.certificate
    assert mesh.ask(again.issue("web")) == b"HTTP/1.1 200 OK"
    assert mesh.ask(again.issue("end")) == b"HTTP/1.1 200 OK"
    guest = again.issue("guest")
    assert mesh.ask(guest) == b"HTTP/1.1 403 Forbidden"
    assert mesh.direct(guest, b"hello", mesh.tcp) == b""
    assert mesh.ask(again.issue("web", "other.example")) == b""
    assert mesh.ask(Authority(mesh.authority.root / "foreign").issue("web")) == b""
    assert mesh.ask(None) == b""


def test_without_the_name_of_a_service_nothing_is_served(mesh: Mesh) -> None:
    assert direct(mesh.inbound, REVIEWS, mesh.authority.root / "web-cluster.local", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
