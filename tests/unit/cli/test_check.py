# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

from tests.unit.cli.conftest import Run

GOOD = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews.shop.mesh]
  http: [{route: [{destination: {host: reviews.shop.mesh}}]}]
"""
BAD = GOOD + "  bogus: 1\n"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_good_documents_say_nothing(offline: Run, tmp_path: Path) -> None:
    found = offline("check", "-f", write(tmp_path / "a.yaml", GOOD))
    assert (found.exit_code, found.output) == (0, "")
    assert json.loads(offline("check", "-f", str(tmp_path / "a.yaml"), "-o", "json").output) == []


def test_one_line_a_finding(offline: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", BAD.replace("[reviews.shop.mesh]\n", "5\n"))
    found = offline("check", "-f", path)
    assert found.exit_code == 1
    assert found.output.splitlines() == [
        f"{path}: VirtualService/shop/reviews: spec.hosts: WrongType: must be a list, not an integer",
        f"{path}: VirtualService/shop/reviews: spec.bogus: UnknownField: unknown field; known here: exportTo, gateways, hosts, http, tcp",
    ]


def test_as_json(offline: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", GOOD.replace("reviews, name", "other, name") + "---\n" + BAD)
    found = offline("check", "-f", path, "-o", "json")
    assert found.exit_code == 1
    (finding,) = json.loads(found.output)
    assert {key: finding[key] for key in ("file", "line", "kind", "namespace", "name", "path", "reason", "severity")} == {
        "file": path,
        "line": 8,
        "kind": "VirtualService",
        "namespace": "shop",
        "name": "reviews",
        "path": "spec.bogus",
        "reason": "UnknownField",
        "severity": "error",
    }


def test_directories_in_order_and_twice_the_same(offline: Run, tmp_path: Path) -> None:
    write(tmp_path / "b.yaml", GOOD)
    write(tmp_path / "a.yml", GOOD)
    write(tmp_path / "c.txt", "not looked at: [")
    found = offline("check", "-f", str(tmp_path))
    assert found.exit_code == 0, "a warning is no error"
    place = tmp_path / "a.yml"
    assert found.output == f"{tmp_path}/b.yaml: VirtualService/shop/reviews: metadata.name: Duplicate: is there already, in {place}:1\n"


def test_what_is_no_yaml(offline: Run, tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "a: 1\nb: [\n")
    found = offline("check", "-f", path, "-f", write(tmp_path / "b.yaml", BAD))
    assert found.exit_code == 1
    first, second = found.output.splitlines()
    assert first.startswith(f"{path}: BadRequest: line 3: not YAML")
    assert "b.yaml: VirtualService/shop/reviews: spec.bogus" in second


def test_standard_input(offline: Run) -> None:
    assert offline("check", "-f", "-", stdin=GOOD).exit_code == 0
    found = offline("check", "-f", "-", stdin=BAD)
    assert (found.exit_code, found.output.split(":")[0]) == (1, "-")


def test_wrong_use(offline: Run, tmp_path: Path) -> None:
    assert offline("check").exit_code == 2
    missing = offline("check", "-f", str(tmp_path / "none.yaml"))
    assert (missing.exit_code, "no such file" in missing.output) == (2, True)
    (tmp_path / "empty").mkdir()
    assert offline("check", "-f", str(tmp_path / "empty")).exit_code == 2
    assert offline("nonsense").exit_code == 2
