# SPDX-License-Identifier: Apache-2.0
"""`get`: resources, with what is true of them now."""

from __future__ import annotations

from typing import Any

import click

from meshwright.cli.failure import Unusable
from meshwright.cli.kind import kind_of, path_of
from meshwright.cli.output import columns, condition
from meshwright.cli.session import Session, online


@click.command()
@click.argument("kind")
@click.argument("name", default="")
@click.option("-n", "namespace", default="default", show_default=True)
@click.option("-A", "everywhere", is_flag=True, help="All namespaces.")
@click.option("-l", "selector", default="", help="Labels: a=b,c=d")
@online
def get(session: Session, kind: str, name: str, namespace: str, everywhere: bool, selector: str) -> None:
    """Show resources of KIND, or one of them."""
    found = kind_of(kind)
    if name and (everywhere or selector):
        raise Unusable("a NAME is looked for in one namespace: leave -A and -l away")
    with session.client() as client:
        path = path_of(found, "" if everywhere else namespace, name)
        answer = client.get(path, {"labelSelector": selector} if selector else None)
    documents = [answer] if name else answer["items"]
    if not name:  # a List, which `apply` and other tools read
        answer = {"apiVersion": "v1", "kind": "List", "metadata": answer["metadata"], "items": documents}
    session.emit(answer, _table(documents) if documents else _nothing("" if everywhere else namespace))


def _nothing(namespace: str) -> str:
    if not namespace:
        return "nothing found in any namespace"
    return f"nothing found in namespace {namespace}; -n NAMESPACE looks in another one, -A in all"


def _table(documents: list[Any]) -> str:
    head = ["NAMESPACE", "NAME", "GENERATION", "ACCEPTED", "RESOLVED", "PROGRAMMED", "CREATED"]
    rows = []
    for document in documents:
        metadata = document["metadata"]
        states = [condition(document, wanted) for wanted in ("Accepted", "ResolvedRefs", "Programmed")]
        rows.append(
            [metadata["namespace"], metadata["name"], metadata.get("generation", "-"), *states, metadata.get("creationTimestamp", "-")]
        )
    return columns(head, rows)
