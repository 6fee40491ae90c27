# SPDX-License-Identifier: Apache-2.0
"""What an editor of one namespace tries in order to change what others' calls do."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from meshwright.api.policy import Role
from tests.feature.api.harness import KINDS, Mesh, path_of, running, service_entry


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("editor")) as made:
        yield made


def outside(**spec: Any) -> dict[str, Any]:
    return service_entry("partner", "evil", hosts=["api.partner.example"], location="MESH_EXTERNAL", **spec)


@pytest.mark.parametrize("spec", [{}, {"exportTo": ["*"]}, {"exportTo": ["shop"]}, {"exportTo": [".", "shop"]}])
def test_an_editor_doesnt_lead_others_calls_to_the_outside(mesh: Mesh, spec: dict[str, Any]) -> None:
    document = outside(**spec)
    with mesh.as_role(Role.NAMESPACE_EDITOR, "evil") as editor:
        for query in ("", "?dryRun=All"):
            refused = editor.put(path_of(document) + query, json=document)
            assert (refused.status_code, refused.json()["error"]["path"]) == (403, "spec.exportTo")
    assert mesh.stored() == {}


@pytest.mark.parametrize("host", ["reviews.shop", "cp.example", "localhost.localdomain"])
def test_nor_names_that_look_like_anothers(mesh: Mesh, host: str) -> None:
    document = service_entry("partner", "evil", hosts=["mine.evil.mesh", host])
    with mesh.as_role(Role.NAMESPACE_EDITOR, "evil") as editor:
        assert editor.put(path_of(document), json=document).status_code == 403


def test_it_may_for_its_own_and_an_admin_may_for_all(mesh: Mesh) -> None:
    own, inside = outside(exportTo=["."]), service_entry("mine", "evil")
    with mesh.as_role(Role.NAMESPACE_EDITOR, "evil") as editor, mesh.as_role(Role.MESH_ADMIN) as admin:
        assert editor.put(path_of(own), json=own).status_code == 201
        assert editor.put(path_of(inside), json=inside).status_code == 201
        widened = {"spec": {"exportTo": ["*"]}}
        merge = {"Content-Type": "application/merge-patch+json"}
        assert editor.patch(path_of(own), json=widened, headers=merge).status_code == 403
        assert admin.patch(path_of(own), json=widened, headers=merge).status_code == 200
        labelled = {"metadata": {"labels": {"team": "a"}}}
        assert editor.patch(path_of(own), json=labelled, headers=merge).status_code == 200, "what an admin widened may be labelled"
        for document in (own, inside):
            assert editor.delete(path_of(document)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        f"{KINDS}/namespaces/evil/../shop/serviceentries/reviews",
        f"{KINDS}/namespaces/evil%2F..%2Fshop/serviceentries/reviews",
        f"{KINDS}/namespaces/SHOP/serviceentries/reviews",
        f"{KINDS}/namespaces/shop%00/serviceentries/reviews",
        f"{KINDS}/namespaces/evil/serviceentries/reviews/../../../shop/serviceentries/x",
        f"{KINDS}//namespaces/shop/serviceentries/reviews",
    ],
)
def test_spellings_of_paths_lead_nowhere(mesh: Mesh, path: str) -> None:
    with mesh.as_role(Role.NAMESPACE_EDITOR, "evil") as editor:
        refused = editor.request("PUT", httpx2.URL(editor.base_url, raw_path=path.encode()), json=service_entry())
    assert refused.status_code in (400, 403, 404)
    assert mesh.stored() == {}
