# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.plugins.api_fake import TOKEN, FakeApi, Refused
from tests.unit.plugins.module_run import run_module

PATH = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/reviews"


def rule(subset: str = "v1", name: str = "reviews") -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"hosts": ["reviews"], "http": [{"route": [{"destination": {"host": "reviews", "subset": subset}}]}]},
    }


def rejected(message: str) -> dict[str, Any]:
    rejection = {
        "proxy": "reviews-web1.shop",
        "type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "inbound",
        "message": message,
        "refs": ["VirtualService/shop/reviews"],
    }
    return {"state": "rejected", "proxies": {"total": 2, "acked": 1, "pending": [], "away": []}, "rejections": [rejection]}


def test_create_predicted_done_and_left_alone(api: FakeApi) -> None:
    options = {**api.options, "definition": rule()}
    predicted = run_module("resource", options, check=True, diff=True)
    assert predicted["changed"] and "rollout" not in predicted
    assert api.stored == {}
    done = run_module("resource", options, diff=True)
    assert done["changed"] and done["revision"] == 1
    assert done["diff"] == predicted["diff"]
    assert done["diff"][0]["before"] == "" and '"v1"' in done["diff"][0]["after"] and "uid" not in done["diff"][0]["after"]
    assert done["rollout"]["proxies"] == {"total": 2, "acked": 2, "pending": [], "away": []}
    assert done["resources"][0]["metadata"]["uid"] == "u"
    again = run_module("resource", options)
    assert not again["changed"] and again["revision"] == 1


def test_update_shows_what_was_there(api: FakeApi) -> None:
    run_module("resource", {**api.options, "definition": rule()})
    done = run_module("resource", {**api.options, "definition": rule("v2")}, diff=True)
    assert done["changed"] and done["revision"] == 2
    (entry,) = done["diff"]
    assert '"v1"' in entry["before"] and '"v2"' in entry["after"] and entry["before_header"] == "VirtualService/shop/reviews"


def test_delete(api: FakeApi) -> None:
    run_module("resource", {**api.options, "definition": rule()})
    options = {**api.options, "definition": rule(), "state": "absent"}
    predicted = run_module("resource", options, check=True)
    assert predicted["changed"] and PATH in api.stored
    done = run_module("resource", options, diff=True)
    assert done["changed"] and api.stored == {} and done["diff"][0]["after"] == ""
    assert not run_module("resource", options)["changed"]


def test_refused_by_a_proxy_fails_in_envoys_words(api: FakeApi) -> None:
    api.rollouts[1] = rejected("Proto constraint validation failed (Foo: value must be > 0)")
    failed = run_module("resource", {**api.options, "definition": rule()})
    assert failed["failed"] and failed["reason"] == "RefusedByProxy"
    assert failed["msg"] == (
        "proxy reviews-web1.shop refused Listener inbound (from VirtualService/shop/reviews): "
        "Proto constraint validation failed (Foo: value must be > 0)"
    )
    again = run_module("resource", {**api.options, "definition": rule()})
    assert again["failed"], "what a proxy refuses does not become good by asking again"


def test_refused_long_ago_still_fails(api: FakeApi) -> None:
    run_module("resource", {**api.options, "definition": rule()})
    condition = {"type": "Programmed", "status": "False", "reason": "RefusedByProxy", "message": "reviews-web1.shop: bad regex"}
    api.stored[PATH]["status"] = {"conditions": [condition]}
    api.rollouts[1] = None
    failed = run_module("resource", {**api.options, "definition": rule()})
    assert failed["failed"] and failed["msg"] == "VirtualService/shop/reviews: reviews-web1.shop: bad regex"


def test_a_store_that_is_an_older_one_fails_in_its_words(api: FakeApi) -> None:
    api.rollouts[1] = Refused(404, "NotFound", "there is no revision 1; the newest is 0")
    failed = run_module("resource", {**api.options, "definition": rule()})
    assert failed["failed"] and "there is no revision 1; the newest is 0" in failed["msg"]


def test_what_leads_nowhere_is_a_warning_each_time(api: FakeApi) -> None:
    run_module("resource", {**api.options, "definition": rule()})
    message = "spec.http[0].route[0].destination: there is no service nosuch.shop.mesh"
    condition = {"type": "ResolvedRefs", "status": "False", "reason": "HostNotFound", "message": message}
    api.stored[PATH]["status"] = {"conditions": [condition]}
    again = run_module("resource", {**api.options, "definition": rule()})
    assert not again["failed"] and not again["changed"]
    assert len(again["warnings"]) == 1 and "VirtualService/shop/reviews: " + message in str(again["warnings"])


def test_proxies_that_never_answer_fail_the_task(api: FakeApi) -> None:
    pending = {"total": 2, "acked": 1, "pending": ["reviews-web1.shop"], "away": ["old.shop"]}
    api.rollouts[1] = {"state": "pending", "proxies": pending, "rejections": []}
    failed = run_module("resource", {**api.options, "definition": rule(), "wait_timeout": 1})
    assert failed["failed"] and failed["reason"] == "Timeout" and "reviews-web1.shop" in failed["msg"] and "old.shop" not in failed["msg"]
    assert failed["rollout"]["proxies"]["away"] == ["old.shop"]
    assert not run_module("resource", {**api.options, "definition": rule(), "wait": False})["failed"]


def test_all_are_checked_before_one_is_stored(api: FakeApi) -> None:
    violation = {"path": "spec.http[0].bogus", "reason": "UnknownField", "message": "is not a field"}
    api.refuse[PATH + "-2"] = Refused(422, "Invalid", "spec.http[0].bogus: is not a field", (violation,))
    failed = run_module("resource", {**api.options, "definition": [rule(), rule(name="reviews-2")]})
    assert failed["failed"] and failed["reason"] == "Invalid"
    assert failed["violations"] == [{"resource": "VirtualService/shop/reviews-2", **violation}]
    assert failed["msg"].splitlines() == [
        "VirtualService/shop/reviews-2 is refused:",
        "  VirtualService/shop/reviews-2: spec.http[0].bogus: UnknownField: is not a field",
    ]
    assert api.writes == [] and api.stored == {}


def test_all_that_is_wrong_with_all_documents_is_said_at_once(api: FakeApi) -> None:
    violations = tuple({"path": f"spec.{name}", "reason": "UnknownField", "message": "is not a field"} for name in ("a", "b"))
    for suffix in ("", "-3"):
        api.refuse[PATH + suffix] = Refused(422, "Invalid", "2 violations", violations)
    failed = run_module("resource", {**api.options, "definition": [rule(), rule(name="reviews-2"), rule(name="reviews-3")]})
    assert failed["msg"].splitlines()[0] == "2 of 3 documents are refused, and none is stored:"
    assert failed["msg"].count("UnknownField: is not a field") == 4 and len(failed["violations"]) == 4
    assert "  VirtualService/shop/reviews-3: spec.b: UnknownField: is not a field" in failed["msg"].splitlines()
    alone = run_module("resource", {**api.options, "definition": rule()})
    assert alone["msg"].splitlines()[1:] == [f"  VirtualService/shop/reviews: spec.{name}: UnknownField: is not a field" for name in "ab"]
    assert api.writes == [("PUT", PATH)] and api.stored == {}


def test_files_with_several_documents(api: FakeApi, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(
        "---\n---\napiVersion: networking.istio.io/v1beta1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.default.mesh]}\n"
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: b, namespace: shop}\nspec: {}\n"
    )
    done = run_module("resource", {**api.options, "src": str(file)})
    assert done["changed"] and list(api.stored) == [
        "/apis/networking.istio.io/v1beta1/namespaces/default/serviceentries/a",
        "/apis/security.istio.io/v1/namespaces/shop/authorizationpolicies/b",
    ]


def test_what_can_not_be_a_document_is_refused_before_anything_is_asked(api: FakeApi) -> None:
    for bad, words in (
        ({"kind": "Pod"}, "kind 'Pod' is not known"),
        ({**rule(), "apiVersion": "security.istio.io/v1"}, "apiVersion of a VirtualService is networking.istio.io/v1"),
        ({**rule(), "metadata": {}}, "metadata.name is missing"),
        ("a: [", "is not YAML"),
        ([rule(), rule()], "VirtualService/shop/reviews is there twice"),
    ):
        failed = run_module("resource", {**api.options, "definition": bad})
        assert failed["failed"] and words in failed["msg"], failed
    assert api.requests == []


def test_access_from_files_and_environment(api: FakeApi, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")
    config = tmp_path / "config.json"
    config.write_text(f'{{"apiUrl": "{api.url}", "tokenFile": "{token}", "caFile": "{api.ca_path}"}}')
    by_config = run_module("resource", {"definition": rule()}, env={"MESHWRIGHT_CONFIG": str(config)})
    assert by_config["changed"]
    environment = {"MESHWRIGHT_API_URL": api.url, "MESHWRIGHT_TOKEN": TOKEN, "MESHWRIGHT_CA_FILE": str(api.ca_path)}
    assert not run_module("resource", {"definition": rule()}, env=environment)["failed"]
    assert "api_url is missing" in run_module("resource", {"definition": rule()})["msg"]


def test_a_wrong_token_and_a_wrong_authority(api: FakeApi) -> None:
    failed = run_module("resource", {**api.options, "api_token": "guessed", "definition": rule()})
    assert failed["failed"] and failed["reason"] == "Unauthenticated" and "guessed" not in str(failed)
    untrusted = {key: value for key, value in api.options.items() if key != "ca_path"}
    failed = run_module("resource", {**untrusted, "definition": rule()})
    assert failed["failed"] and "its certificate is not good" in failed["msg"]


def test_a_control_plane_that_is_just_starting_is_waited_for(api: FakeApi) -> None:
    api.busy = 2
    assert run_module("resource", {**api.options, "definition": rule()})["changed"]


def test_info_reads_one_and_by_labels(api: FakeApi) -> None:
    entry = {**rule(name="other"), "metadata": {"name": "other", "namespace": "shop", "labels": {"meshwright.dev/node": "web1"}}}
    run_module("resource", {**api.options, "definition": [rule(), entry]})
    query = {**api.options, "kind": "VirtualService", "namespace": "shop"}
    assert [one["metadata"]["name"] for one in run_module("resource_info", query)["resources"]] == ["other", "reviews"]
    labelled = run_module("resource_info", {**query, "label_selectors": ["meshwright.dev/node=web1"]})
    assert [one["metadata"]["name"] for one in labelled["resources"]] == ["other"]
    assert len(run_module("resource_info", {**query, "name": "reviews"})["resources"]) == 1
    assert run_module("resource_info", {**query, "name": "nothing"})["resources"] == []


def test_proxy_info_waits_until_all_are_in_sync(api: FakeApi) -> None:
    api.proxies = [{"id": "a.shop", "connected": False, "sync": "AWAY"}, {"id": "b.shop", "connected": True, "sync": "SYNCED"}]
    polls = iter(range(3))

    def connect() -> None:
        if next(polls) == 1:
            api.proxies[0] = {"id": "a.shop", "connected": True, "sync": "SYNCED"}

    api.on_poll = connect
    done = run_module("proxy_info", {**api.options, "id": ["a.shop", "b.shop"], "wait": True, "config": True})
    assert not done["failed"] and [one["sync"] for one in done["proxies"]] == ["SYNCED", "SYNCED"]
    assert done["proxies"][0]["config"]["listeners"] == []


def test_proxy_info_says_who_is_missing(api: FakeApi) -> None:
    api.proxies = [{"id": "a.shop", "connected": False, "sync": "AWAY"}]
    failed = run_module("proxy_info", {**api.options, "id": ["a.shop", "b.shop"], "wait": True, "wait_timeout": 0})
    assert failed["failed"] and failed["msg"] == "after 0 s not ready: a.shop (AWAY), b.shop (not enrolled)"
    assert [one["id"] for one in run_module("proxy_info", api.options)["proxies"]] == ["a.shop"]
