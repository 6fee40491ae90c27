# SPDX-License-Identifier: Apache-2.0
"""Who gets an answer, and who does not: without TLS, without a certificate, with the wrong one, around the Envoys, from the same host."""

from __future__ import annotations

from tests.lab.host import Host

from examples.demo import traffic
from examples.demo.mesh import WORKLOADS, Mesh

INBOUND = 15006
PATH = "/reviews/1"


def check(mesh: Mesh) -> None:
    mesh.report.title("Access")
    _seen_identity(mesh)
    _wrong_identity(mesh)
    _without_certificate(mesh)
    _around_envoy(mesh)


def _seen_identity(mesh: Mesh) -> None:
    """The servers say whom they saw: what the client's certificate said, not what the client said."""
    frontend = mesh.host("frontend")
    answer = traffic.get(frontend, "root", "http://127.0.0.1:8080/")
    seen = {one.get("service"): one.get("caller") for one in [answer.body.get("catalog", {}), *answer.body.get("reviews", [])]}
    wanted = dict.fromkeys(("catalog", "reviews"), WORKLOADS["frontend"].spiffe_id)
    mesh.report.check("the page works, and its servers saw the client's identity", seen == wanted, f"{answer}: {seen or answer.body}")
    forged = traffic.get(frontend, "frontend", traffic.CATALOG, "-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/boss")
    caller = forged.body.get("caller")
    mesh.report.check(
        "an identity that a client writes itself is not believed", caller == WORKLOADS["frontend"].spiffe_id, f"{forged}: {caller}"
    )


def _wrong_identity(mesh: Mesh) -> None:
    answer = traffic.get(mesh.host("catalog"), "catalog", traffic.REVIEWS)
    mesh.report.check("catalog may not call reviews", answer.status == 403, str(answer))
    other = traffic.get(mesh.host("frontend"), "frontend", "http://catalog.shop.mesh/prices")
    mesh.report.check("frontend may not call what no rule names", other.status == 403, str(other))


def _without_certificate(mesh: Mesh) -> None:
    """From a host that is not in the mesh, to the port on which the mesh speaks."""
    server, stranger = mesh.host("reviews-v1"), mesh.stranger
    plain = traffic.get(stranger, "root", f"http://{server.address}:{INBOUND}{PATH}", "-H", "host: reviews.shop.mesh")
    mesh.report.check("plain text to the mesh's port is refused", plain.status == 0, str(plain))
    name = "outbound_.80_._.reviews.shop.mesh"
    to_server = f"{name}:{INBOUND}:{server.address}:{INBOUND}"
    bare = traffic.get(stranger, "root", f"https://{name}:{INBOUND}{PATH}", "-k", "--connect-to", to_server)
    mesh.report.check("TLS without a certificate is refused", bare.status == 0, str(bare))


def _around_envoy(mesh: Mesh) -> None:
    """To the application's own port, which would need no identity."""
    server = mesh.host("reviews-v1")
    port = WORKLOADS["reviews-v1"].port
    urls = {"IPv4": f"http://{server.address}:{port}{PATH}", "IPv6": f"http://[{server.address6}]:{port}{PATH}"}
    callers: list[tuple[str, Host, str]] = [
        ("a stranger", mesh.stranger, "root"),
        ("root of a mesh host", mesh.host("catalog"), "root"),
        ("frontend itself", mesh.host("frontend"), "frontend"),
    ]
    for who, host, user in callers:
        answers = {family: traffic.get(host, user, url) for family, url in urls.items()}
        refused = all(answer.status == 0 for answer in answers.values())
        figure = ", ".join(f"{family}: {answer}" for family, answer in answers.items())
        mesh.report.check(f"{who} can't reach the application's own port", refused, figure)
    local = traffic.get(server, "nobody", f"http://127.0.0.1:{port}{PATH}")
    mesh.report.check("another user of the same host can't either", local.status == 0, str(local))
