# SPDX-License-Identifier: Apache-2.0
"""Decoding under arbitrary input: good documents go round, the two readers agree, bad ones end in our own errors only."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from meshwright.errors import Invalid, MeshwrightError
from meshwright.model import walk
from meshwright.model.canonical import from_text
from meshwright.model.decode import decode, encode, load, parse_json
from meshwright.model.kinds import KINDS
from tests.unit.model.samples import document, documents

LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True).filter(lambda text: not text.isdigit())
HOST = st.lists(LABEL, min_size=2, max_size=4).map(".".join)
LABELS = st.dictionaries(LABEL, LABEL | st.just(""), min_size=1, max_size=3)
PORT = st.integers(1, 65535)
DURATION = st.builds(lambda number, unit: f"{number}{unit}", st.integers(1, 500), st.sampled_from(["ms", "s", "m"]))
ADDRESS = st.ip_addresses().map(str).filter(lambda text: text not in ("0.0.0.0", "::") and not text.startswith(("2", "ff")))
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional or {})


STRING = record({"exact": TEXT}) | record({"prefix": TEXT}) | record({"regex": st.sampled_from([".*", "[a-z]+", r"\d{2}"])})
DESTINATION = record({"host": HOST | LABEL}, {"subset": LABEL, "port": record({"number": PORT})})
ROUTES = st.lists(DESTINATION, min_size=1, max_size=3).map(
    lambda to: [{"destination": one, "weight": 100 - len(to) + 1 if i == 0 else 1} for i, one in enumerate(to)]
)
MATCH = record({}, {"uri": STRING, "headers": st.dictionaries(LABEL, STRING, max_size=2), "port": PORT, "ignoreUriCase": st.booleans()})
HTTP = record(
    {"route": ROUTES},
    {
        "name": TEXT,
        "match": st.lists(MATCH, max_size=2),
        "timeout": DURATION,
        "retries": record(
            {}, {"attempts": st.integers(0, 9), "perTryTimeout": DURATION, "retryOn": st.sampled_from(["", "5xx", "reset,503"])}
        ),
    },
)
EXPORT = {"exportTo": st.just(["*"]) | st.lists(st.just(".") | LABEL, max_size=2)}
INSTANCE = {"ports": st.dictionaries(LABEL, PORT, max_size=2), "labels": LABELS, "weight": st.integers(0, 100), "serviceAccount": LABEL}
PORTS = st.lists(st.tuples(LABEL, PORT, st.sampled_from(["HTTP", "tcp", "grpc", ""])), min_size=1, max_size=3).map(
    lambda rows: [
        {"name": n, "number": p, "protocol": w}
        for n, p, w in {p: (n, p, w) for n, p, w in {n: (n, p, w) for n, p, w in rows}.values()}.values()
    ]
)
SPECS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "ServiceEntry": record(
        {"hosts": st.lists(HOST, min_size=1, max_size=2, unique=True), "resolution": st.just("STATIC"), "ports": PORTS},
        {"workloadSelector": record({"labels": LABELS}), "location": st.sampled_from(["MESH_INTERNAL", "MESH_EXTERNAL"]), **EXPORT},
    ),
    "WorkloadEntry": record({"address": ADDRESS | HOST}, INSTANCE),
    "VirtualService": record(
        {"hosts": st.lists(HOST | LABEL, min_size=1, max_size=2, unique=True), "http": st.lists(HTTP, min_size=1, max_size=2)}, EXPORT
    ),
    "DestinationRule": record(
        {"host": HOST},
        {"subsets": st.lists(record({"name": LABEL, "labels": LABELS}), max_size=2, unique_by=lambda s: s["name"]), **EXPORT},
    ),
    "PeerAuthentication": record(
        {}, {"mtls": record({"mode": st.sampled_from(["STRICT", "UNSET"])}), "selector": record({"matchLabels": LABELS})}
    ),
    "AuthorizationPolicy": record(
        {},
        {
            "action": st.sampled_from(["ALLOW", "DENY"]),
            "rules": st.lists(
                record(
                    {}, {"from": st.lists(record({"source": record({"namespaces": st.lists(LABEL, min_size=1, max_size=2)})}), max_size=2)}
                ),
                max_size=2,
            ),
        },
    ),
}
GOOD = st.sampled_from(sorted(SPECS)).flatmap(
    lambda kind: st.builds(
        document,
        st.just(kind),
        HOST,
        SPECS[kind],
        LABEL,
        labels=LABELS,
        annotations=st.dictionaries(
            LABEL, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9), max_size=2
        ),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(st.characters(), max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=8), below, max_size=3),
    max_leaves=10,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(GOOD)
def test_good_documents_go_round(given: dict[str, Any]) -> None:
    made = decode(given)
    assert decode(encode(made)) == made
    assert load(encode(made)) == made
    assert decode(parse_json(json.dumps(encode(made)).encode())) == made


@settings(max_examples=60, derandomize=True, deadline=None)
@given(GOOD)
def test_the_patient_reader_reads_good_documents_like_msgspec(given: dict[str, Any]) -> None:
    cls = KINDS[given["kind"]].spec
    report = walk.Report()
    assert walk.read(cls, given["spec"], "spec", report) == msgspec.convert(given["spec"], cls, dec_hook=from_text)
    assert not report.violations


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.data())
def test_arbitrary_json_in_a_good_document(data: st.DataObject) -> None:
    """One value somewhere in a rich document is replaced by anything: the two readers agree on whether its shape is right, and what is
    told is told of that place (and perhaps of others that depend on it)."""
    whole = documents()[data.draw(st.integers(0, len(documents()) - 1))]
    parent, key, path = data.draw(st.sampled_from(places(whole["spec"], "spec")))
    parent[key] = data.draw(JSON)
    cls = KINDS[whole["kind"]].spec
    report = walk.Report()
    walk.read(cls, whole["spec"], "spec", report)
    shape = [v for v in report.violations if "control character" not in v.message]
    try:
        msgspec.convert(whole["spec"], cls, dec_hook=from_text)
    except msgspec.ValidationError:
        assert shape
    else:
        assert not shape
    try:
        decode(whole)
    except Invalid as error:
        assert any(touches(v.path, path) for v in error.violations)
        assert all(v.message and len(v.message) < 500 for v in error.violations)
        json.dumps([v._asdict() for v in error.violations]).encode()


@settings(max_examples=150, derandomize=True, deadline=None)
@given(
    JSON
    | st.fixed_dictionaries(
        {
            "apiVersion": JSON | st.just("networking.istio.io/v1"),
            "kind": JSON | st.sampled_from(sorted(KINDS)),
            "metadata": JSON,
            "spec": JSON,
        }
    )
)
def test_nothing_but_our_own_errors_comes_out(given: Any) -> None:
    try:
        decode(given)
    except MeshwrightError as error:
        str(error).encode()


def places(value: Any, path: str) -> list[tuple[Any, Any, str]]:
    """Every value below: (its container, its key, its path)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for key, below in items:
        where = walk.child(path, key)
        found.append((value, key, where))
        found += places(below, where)
    return found


def touches(one: str, other: str) -> bool:
    """On the way from the root to a place, in it, or beside it in the same list or object (two fields that exclude each other)."""
    beside = other.rpartition("[" if other.endswith("]") else ".")[0]
    return one.startswith(beside) or other.startswith(one)
