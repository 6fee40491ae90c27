# SPDX-License-Identifier: Apache-2.0
"""Who gets an answer, and who does not: without TLS, without a certificate, with the wrong one, around the Envoys, from the same host."""

from __future__ import annotations

from examples.demo import traffic
from examples.demo.mesh import WORKLOADS, Host, Mesh

PATH = "/reviews/1"


def check(mesh: Mesh) -> None:
    mesh.report.title("Access: who gets an answer, and who does not")
    _seen_identity(mesh)
    _wrong_identity(mesh)
    _without_certificate(mesh)
    _around_envoy(mesh)


def _seen_identity(mesh: Mesh) -> None:
    """The servers say whom they saw: what the client's certificate said, not what the client said."""
    frontend, wanted = mesh.host("frontend"), WORKLOADS["frontend"].spiffe_id
    answer = traffic.get(frontend, "root", f"http://127.0.0.1:{mesh.ports('frontend').application}/")
    seen = {one.get("service"): one.get("caller") for one in [answer.body.get("catalog", {}), *answer.body.get("reviews", [])]}
    good = seen == dict.fromkeys(("catalog", "reviews"), wanted)
    figure = f"{answer}; catalog and reviews both saw {wanted}" if good else f"{answer}: they saw {seen or answer.body}"
    mesh.report.check("the shop's page works, and its servers know that frontend called", good, figure)
    forged = traffic.get(frontend, "frontend", traffic.CATALOG, "-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/shop/sa/boss")
    caller = forged.body.get("caller")
    name = "frontend claims to be `boss` in a header: it is not believed"
    mesh.report.check(name, caller == wanted, f"{forged}; the server saw {caller}")


def _wrong_identity(mesh: Mesh) -> None:
    answer = traffic.get(mesh.host("catalog"), "catalog", traffic.REVIEWS)
    mesh.report.check("catalog calls reviews, which only frontend may: refused", answer.status == 403, str(answer))
    other = traffic.get(mesh.host("frontend"), "frontend", "http://catalog.shop.mesh/prices")
    mesh.report.check("frontend asks catalog for a path that no rule allows: refused", other.status == 403, str(other))


def _without_certificate(mesh: Mesh) -> None:
    """By somebody who is not in the mesh, to the port on which the mesh speaks."""
    server, stranger, ports = mesh.host("reviews-v1"), mesh.stranger, mesh.ports("reviews-v1")
    plain = traffic.get(stranger, "root", f"http://{server.address}:{ports.inbound}{PATH}", "-H", "host: reviews.shop.mesh")
    mesh.report.check("somebody outside the mesh speaks plain HTTP to a sidecar: refused", plain.status == 0, str(plain))
    name = f"outbound_.{ports.service}_._.reviews.shop.mesh"
    to_server = f"{name}:{ports.inbound}:{server.address}:{ports.inbound}"
    bare = traffic.get(stranger, "root", f"https://{name}:{ports.inbound}{PATH}", "-k", "--connect-to", to_server)
    mesh.report.check("somebody outside the mesh speaks TLS without a certificate: refused", bare.status == 0, str(bare))


def _around_envoy(mesh: Mesh) -> None:
    """To the application's own port, which would need no identity."""
    server, port = mesh.host("reviews-v1"), mesh.ports("reviews-v1").application
    urls = {"IPv4": f"http://{server.address}:{port}{PATH}", "IPv6": f"http://[{server.address6}]:{port}{PATH}"}
    local = {"127.0.0.1": f"http://127.0.0.1:{port}{PATH}"}
    callers: list[tuple[str, Host, str, dict[str, str]]] = [
        ("from a host outside the mesh", mesh.stranger, "root", urls),
        ("from another host of the mesh, even as its root user", mesh.host("catalog"), "root", urls),
        ("by frontend, which may call reviews only through its sidecar", mesh.host("frontend"), "frontend", urls),
        ("on the very host of reviews, by another user", server, "nobody", local),
    ]
    for who, host, user, tried in callers:
        name = f"the port of the reviews application is called directly {who}: refused"
        if "guard" in mesh.missing:
            mesh.report.leave_out(name, mesh.missing["guard"])
            continue
        answers = {way: traffic.get(host, user, url) for way, url in tried.items()}
        refused = all(answer.status == 0 for answer in answers.values())
        figure = ", ".join(f"over {way}: {answer}" for way, answer in answers.items())
        mesh.report.check(name, refused, f"user {user} on {host.name}, {figure}")
