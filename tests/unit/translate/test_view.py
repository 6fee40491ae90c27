# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from meshwright.model.networking import Destination, PortSelector
from meshwright.translate.view import service_view, upstream
from tests.unit.translate.small_world import SmallWorld, document, port, service


def rule(name: str, host: str, to: str, namespace: str = "shop", **spec: object) -> object:
    return document("VirtualService", name, {"hosts": [host], "http": [{"route": [{"destination": {"host": to}}]}], **spec}, namespace)


def test_no_export_means_every_namespace() -> None:
    assert service("a.shop.mesh").visible("other")
    assert service("a.shop.mesh", export_to=("*",)).visible("other")
    assert not service("a.shop.mesh", export_to=("shop",)).visible("other")
    assert service("a.shop.mesh", export_to=("shop",)).visible("shop")


def test_a_host_that_is_not_exported_has_no_view() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh", export_to=("shop",)))
    assert service_view(world, "a.shop.mesh", "other") is None
    assert service_view(world, "nowhere.mesh", "shop") is None
    assert service_view(world, "a.shop.mesh", "shop") is not None


def test_equal_worlds_give_equal_views_with_equal_hashes() -> None:
    def make() -> SmallWorld:
        return SmallWorld().with_service(service("a.shop.mesh")).with_resources(rule("a", "a", "a"))  # type: ignore[arg-type]

    one, other = service_view(make(), "a.shop.mesh", "shop"), service_view(make(), "a.shop.mesh", "shop")
    assert one == other
    assert hash(one) == hash(other)


def test_an_unexported_virtual_service_gives_way_to_the_next() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh"))
    world = world.with_resources(rule("first", "a", "a", exportTo=["."]), rule("second", "a", "a"))  # type: ignore[arg-type]
    seen = {home: service_view(world, "a.shop.mesh", home) for home in ("shop", "other")}
    assert [view.http.metadata.name for view in seen.values() if view and view.http] == ["first", "second"]


def test_an_alias_belongs_to_the_visible_service_with_the_better_claim() -> None:
    world = SmallWorld().with_service(service("a.shop.svc.cluster.local"))
    alone = service_view(world, "a.shop.svc.cluster.local", "shop")
    assert alone is not None
    assert alone.domains == ("a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a")
    world = world.with_service(service("a.shop.mesh"))
    mesh, local = service_view(world, "a.shop.mesh", "shop"), service_view(world, "a.shop.svc.cluster.local", "shop")
    assert mesh is not None
    assert local is not None
    assert mesh.domains == ("a.shop.mesh", "a.shop.svc.cluster.local", "a.shop.svc", "a.shop", "a")
    assert local.domains == ()


def test_short_names_in_rules_are_those_of_the_rules_namespace() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh")).with_service(service("b.other.mesh", port(81)))
    world = world.with_resources(rule("a", "a.shop", "b", namespace="other"))  # type: ignore[arg-type]
    view = service_view(world, "a.shop.mesh", "shop")
    assert view is not None
    assert upstream(view, "other", Destination("b"), 80).cluster == "outbound|81||b.other.mesh"
    assert not upstream(view, "shop", Destination("b"), 80).exists


def test_the_port_of_a_destination() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh", port(80), port(81)))
    world = world.with_resources(rule("a", "a", "a"))  # type: ignore[arg-type]
    view = service_view(world, "a.shop.mesh", "shop")
    assert view is not None
    assert upstream(view, "shop", Destination("a"), 81) == ("outbound|81||a.shop.mesh", True)
    assert upstream(view, "shop", Destination("a", port=PortSelector(80)), 81) == ("outbound|80||a.shop.mesh", True)
    assert upstream(view, "shop", Destination("a", port=PortSelector(82)), 81) == ("outbound|82||a.shop.mesh", False)
    assert upstream(view, "shop", Destination("a", subset="v1"), 81) == ("outbound|81|v1|a.shop.mesh", False)


def test_a_destination_that_is_not_exported_here_is_not_there() -> None:
    world = SmallWorld().with_service(service("a.shop.mesh")).with_service(service("b.shop.mesh", export_to=("shop",)))
    world = world.with_resources(rule("a", "a", "b"))  # type: ignore[arg-type]
    for namespace, there in (("shop", True), ("other", False)):
        view = service_view(world, "a.shop.mesh", namespace)
        assert view is not None
        assert upstream(view, "shop", Destination("b"), 80).exists is there
