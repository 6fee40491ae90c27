# SPDX-License-Identifier: Apache-2.0
"""Every way to say it wrong: a clear error, and nothing stored."""

from __future__ import annotations

import json
import ssl
from datetime import timedelta
from typing import Any, NamedTuple

import httpx2
import pytest

from meshwright.api.policy import Role
from tests.feature.api.harness import KINDS, Mesh, path_of, virtual_service

PATH = path_of(virtual_service())
JSON = {"Content-Type": "application/json"}


class Case(NamedTuple):
    name: str
    body: bytes
    status: int
    reason: str
    path: str
    says: str


def spec(**fields: Any) -> bytes:
    return json.dumps(virtual_service(**fields)).encode()


def route(*weights: int) -> list[dict[str, Any]]:
    return [{"route": [{"destination": {"host": f"h{i}.shop.mesh"}, "weight": w} for i, w in enumerate(weights)]}]


def metadata(**fields: Any) -> bytes:
    document = virtual_service()
    document["metadata"].update(fields)
    return json.dumps(document).encode()


CASES = [
    Case("unknown field", spec(bogus=1), 422, "Invalid", "spec.bogus", "bogus"),
    Case("misspelt field", spec(htpp=[]), 422, "Invalid", "spec.htpp", "http"),
    Case("not yet", spec(tls=[]), 422, "Invalid", "spec.tls", "not supported yet"),
    Case("wrong type", spec(hosts="reviews"), 422, "Invalid", "spec.hosts", "list"),
    Case("weights", spec(http=route(60, 60)), 422, "Invalid", "spec.http[0].route", "100"),
    Case("negative weight", spec(http=route(-1, 101)), 422, "Invalid", "spec.http[0].route[0].weight", ""),
    Case("bad duration", spec(http=[{**route(100)[0], "timeout": "soon"}]), 422, "Invalid", "spec.http[0].timeout", "duration"),
    Case("other name", metadata(name="other"), 422, "Invalid", "metadata.name", "other"),
    Case("other namespace", metadata(namespace="bank"), 422, "Invalid", "metadata.namespace", "bank"),
    Case("bad version", metadata(resourceVersion="x"), 422, "Invalid", "metadata.resourceVersion", "version"),
    Case("bad label", metadata(labels={"a b": "c"}), 422, "Invalid", "metadata.labels", "a b"),
    Case("other kind", b'{"kind": "ServiceEntry", "spec": {}}', 422, "Invalid", "kind", "ServiceEntry"),
    Case("no spec type", b'{"spec": []}', 422, "Invalid", "spec", "object"),
    Case("not an object", b"[]", 400, "BadRequest", "", "object"),
    Case("not JSON", b"{", 400, "BadRequest", "", "JSON"),
    Case("empty", b"", 400, "BadRequest", "", "JSON"),
    Case("not UTF-8", b'{"a": "\xff"}', 400, "BadRequest", "", "UTF-8"),
    Case("NaN", b'{"a": NaN}', 400, "BadRequest", "", "NaN"),
    Case("duplicate keys", b'{"spec": {"hosts": [], "hosts": []}}', 400, "BadRequest", "spec.hosts", "twice"),
    Case("deep nesting", b'{"spec": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "BadRequest", "*", "deeper"),
    Case("very deep nesting", b"[" * 500_000, 400, "BadRequest", "*", ""),
    Case("too large", b'{"a": "' + b"x" * 10_000_000 + b'"}', 413, "TooLarge", "", "1048576"),
]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_bad_documents(shared: Mesh, case: Case) -> None:
    with shared.as_role(Role.MESH_ADMIN) as client:
        before = shared.revision()
        answer = client.put(PATH, content=case.body, headers=JSON)
        error = answer.json()["error"]
        assert (answer.status_code, error["reason"]) == (case.status, case.reason), error
        if case.path != "*":
            assert case.path in [error["path"], *(violation["path"] for violation in error["violations"])], error
        assert case.says in json.dumps(error)
        assert len(answer.content) < 4096
        # The connection, or a new one, goes on serving.
        assert client.get("/healthz").status_code == 200
        assert (shared.stored(), shared.revision()) == ({}, before)


def test_all_violations_are_told_at_once(shared_admin: httpx2.Client) -> None:
    body = spec(bogus=1, hosts=5, http=route(60, 60))
    error = shared_admin.put(PATH, content=body, headers=JSON).json()["error"]
    assert {v["path"] for v in error["violations"]} >= {"spec.bogus", "spec.hosts", "spec.http[0].route"}


@pytest.mark.parametrize(
    ("params", "path"),
    [({"dryrun": "All"}, "dryrun"), ({"dryRun": "Some"}, "dryRun"), ([("dryRun", "All"), ("dryRun", "All")], "dryRun")],
)
def test_a_misspelt_parameter_does_not_write(shared: Mesh, shared_admin: httpx2.Client, params: Any, path: str) -> None:
    answer = shared_admin.put(PATH, json=virtual_service(), params=params)
    assert (answer.status_code, answer.json()["error"]["path"]) == (400, path)
    assert shared.stored() == {}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-yaml", "application/merge-patch+json"])
def test_other_content_types(shared_admin: httpx2.Client, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = shared_admin.put(PATH, content=spec(), headers=headers)
    assert answer.status_code == 400
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path",
    [
        f"{KINDS}/namespaces/shop/gateways/x",
        f"{KINDS}/namespaces/shop/virtualservices",
        "/apis/networking.istio.io/v9/namespaces/shop/virtualservices/x",
        "/apis/other/v1/namespaces/shop/virtualservices/x",
        f"{KINDS}/namespaces/shop/virtualservices/x/status",
        "/apis",
    ],
)
def test_paths_that_are_not_there(shared_admin: httpx2.Client, path: str) -> None:
    answer = shared_admin.put(path, json=virtual_service())
    assert answer.status_code in (404, 405)
    assert answer.json()["error"]["reason"] in ("NotFound", "MethodNotAllowed")


@pytest.mark.parametrize("name", ["UPPER", "a_b", "..", "a%2Fb", "%00", "x" * 254, "%F0%9F%92%A9"])
def test_names_that_cannot_be(shared: Mesh, shared_admin: httpx2.Client, name: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = shared_admin.request(method, f"{KINDS}/namespaces/shop/virtualservices/{name}", json=virtual_service())
        assert answer.status_code in (400, 404, 405, 422), (method, answer.text)
    assert shared.stored() == {}


def test_tokens_that_are_none(mesh: Mesh) -> None:
    good = mesh.token(Role.MESH_ADMIN)
    short = mesh.token(Role.MESH_ADMIN, ttl=60)
    mesh.clock.offset = timedelta(seconds=61)
    expired, wrong = short, good[:-1] + ("A" if good[-1] != "A" else "B")
    answers = []
    for header in ("", f"Bearer {wrong}", f"Bearer {expired}", f"Basic {good}", good, "Bearer", "Bearer x y", "Bearer " + "x" * 9000):
        with mesh.client() as client:
            answers.append(client.put(PATH, json=virtual_service(), headers={"Authorization": header} if header else {}))
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1, "the answer must not say what is wrong with a token"
    assert answers[0].headers["www-authenticate"] == "Bearer"
    assert mesh.stored() == {}


def test_failures_are_limited_but_a_good_token_is_not(mesh: Mesh) -> None:
    with mesh.client("mwa_" + "x" * 43) as client, mesh.as_role(Role.READER) as reader:
        statuses = [client.get("/mesh/v1/proxies").status_code for _ in range(60)]
        assert statuses[0] == 401
        assert statuses[-1] == 429
        assert reader.get("/mesh/v1/proxies").status_code == 200


def test_another_namespace_is_forbidden(mesh: Mesh) -> None:
    with mesh.as_role(Role.NAMESPACE_EDITOR, "bank", "desk") as editor:
        for method, kwargs in (("PUT", {"json": virtual_service()}), ("PATCH", {"json": {}}), ("DELETE", {})):
            answer = editor.request(method, PATH, **kwargs)
            assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "Forbidden")
            assert "bank, desk" in answer.json()["error"]["message"]
        own = virtual_service(namespace="desk")
        assert editor.put(path_of(own), json=own).status_code == 201
        # Not even by a document that names another namespace than the path.
        assert editor.put(path_of(own), json=virtual_service()).status_code == 422
        assert editor.get(PATH).status_code == 404
    assert list(mesh.stored()) == ["resources/VirtualService/desk/reviews"]


def raw(mesh: Mesh, data: bytes) -> bytes:
    """What comes back for these bytes until the server closes."""
    answer = b""
    with mesh.tls_socket() as tls:
        try:
            tls.sendall(data)
            while chunk := tls.recv(65536):
                answer += chunk
        except (ConnectionResetError, ssl.SSLError):
            pass
    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\x16\x03" * 64,
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000,
        b"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /mesh/v1/attest/nonce HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"GET /healthz\r\n\r\n",
    ],
)
def test_what_is_not_http_is_answered_with_400_and_closed(shared: Mesh, data: bytes) -> None:
    answer = raw(shared, data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    assert len(answer) < 4096
    with shared.client() as client:
        assert client.get("/healthz").status_code == 200


def test_no_answer_says_what_serves_it(shared: Mesh) -> None:
    answer = raw(shared, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"200 ok" in head
    assert b"server:" not in head
    assert b"uvicorn" not in head


def test_an_error_inside_shows_only_its_request_id(mesh: Mesh, admin: httpx2.Client) -> None:
    mesh.put_raw("resources/VirtualService/shop/reviews", b"this is not JSON")
    answer = admin.get(PATH)
    error = answer.json()["error"]
    assert (answer.status_code, error["reason"]) == (500, "Internal")
    assert answer.headers["x-request-id"] in error["message"]
    assert "Traceback" not in answer.text
    assert "JSON" not in answer.text
    logged = [event for event in mesh.events if event["event"] == "api.failed"]
    assert [event["request_id"] for event in logged] == [answer.headers["x-request-id"]]
    assert "Traceback" in logged[0]["exception"]
