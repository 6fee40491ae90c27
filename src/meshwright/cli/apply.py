# SPDX-License-Identifier: Apache-2.0
"""`apply` and `delete`: documents in the order of their files, then, until every proxy runs them, the rollout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import click

from meshwright.cli.check import document_findings
from meshwright.cli.connection import Answer, Client, violation_lines
from meshwright.cli.documents import Document
from meshwright.cli.failure import BAD, Bad, Unusable
from meshwright.cli.kind import kind_of, label, path_of
from meshwright.cli.paths import documents
from meshwright.cli.result import WRITTEN, line, refusing, way_out
from meshwright.cli.rollout import follow, outcome
from meshwright.cli.session import Session, files_option, online

TIMEOUT = 60


class Report(NamedTuple):
    """Filled on the way: `results` of the documents sent so far, `rollouts` by the revisions they were stored at. `timeout` 0: nothing is
    waited for."""

    results: list[dict[str, Any]]
    rollouts: dict[int, dict[str, Any]]
    timeout: int
    note: str = ""


wait_option = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until every connected proxy concerned runs it.")
timeout_option = click.option("--timeout", type=click.IntRange(1, 3600), default=TIMEOUT, show_default=True, help="Seconds to wait.")


@click.command()
@files_option
@click.option("-n", "namespace", default="", help="For documents that name none.")
@click.option("--dry-run", is_flag=True, help="Let the control plane check, store nothing.")
@wait_option
@timeout_option
@online
def apply(session: Session, paths: Sequence[str], namespace: str, dry_run: bool, wait: bool, timeout: int) -> None:
    """Store documents in the order of their files. Nothing is sent when one of them is bad by itself."""
    found = documents(paths)
    if not found:
        raise Unusable("there is no document in these files")
    for document in found:
        _fill_namespace(document.object, namespace)
    _refuse_bad(found)
    report = Report([], {}, timeout if wait and not dry_run else 0, " (dry run)" if dry_run else "")
    with session.client() as client:
        with _reported(session, report):
            for document in found:
                report.results.append(_apply_one(client, document, dry_run))
            _wait(session, client, report)
        _finish(session, client, report)


@click.command()
@click.argument("kind", default="")
@click.argument("name", default="")
@click.option("-f", "paths", multiple=True, metavar="PATH", help="Delete what these documents name.")
@click.option("-n", "namespace", default="default", show_default=True)
@wait_option
@timeout_option
@online
def delete(session: Session, kind: str, name: str, paths: Sequence[str], namespace: str, wait: bool, timeout: int) -> None:
    """Delete one resource (KIND NAME), or what documents name (-f). What is gone already is no error."""
    if bool(paths) == bool(kind) or bool(kind) != bool(name):
        raise Unusable("name either KIND NAME, or -f PATH")
    found = [(kind, namespace, name)] if kind else [_named(document, namespace) for document in reversed(documents(paths))]
    report = Report([], {}, timeout if wait else 0)
    with session.client() as client:
        with _reported(session, report):
            for one in found:
                report.results.append(_delete_one(client, *one))
            _wait(session, client, report)
        _finish(session, client, report)


def _fill_namespace(document: Any, namespace: str) -> None:
    if namespace and isinstance(document, dict) and isinstance(document.get("metadata"), dict):
        document["metadata"].setdefault("namespace", namespace)


def _refuse_bad(found: Sequence[Document]) -> None:
    findings = [finding for document in found for finding in document_findings(document)]
    if findings:
        raise Bad("nothing was sent:\n" + "\n".join(str(finding) for finding in findings))


def _named(document: Document, namespace: str) -> tuple[str, str, str]:
    metadata = document.object.get("metadata") if isinstance(document.object, dict) else None
    if not isinstance(metadata, dict) or not metadata.get("name") or not document.object.get("kind"):
        raise Unusable(f"{document.file}:{document.line}: names no kind and name")
    return str(document.object["kind"]), str(metadata.get("namespace", namespace)), str(metadata["name"])


def _apply_one(client: Client, document: Document, dry_run: bool) -> dict[str, Any]:
    metadata = document.object["metadata"]
    path = path_of(kind_of(document.object["kind"]), metadata.get("namespace", "default"), metadata["name"])
    answer = client.ask("PUT", path, body=document.object, params={"dryRun": "All"} if dry_run else None)
    how = "refused"
    if answer.ok:
        how = ("created" if answer.status == 201 else "configured") if answer.changed else "unchanged"
    done = _done(label(document.object), how, answer)
    if answer.ok:
        done["path"], done["document"] = path, answer.body
    if answer.ok and not answer.changed:
        done["standing"] = _standing(answer.body)
    return done


def _delete_one(client: Client, kind: str, namespace: str, name: str) -> dict[str, Any]:
    found = kind_of(kind)
    answer = client.ask("DELETE", path_of(found, namespace, name))
    shown = f"{found.name}/{namespace}/{name}"
    if answer.status == 404:
        return {**_done(shown, "absent", answer), "errors": []}
    return _done(shown, "deleted" if answer.ok else "refused", answer)


def _done(resource: str, how: str, answer: Answer) -> dict[str, Any]:
    errors = [] if answer.ok else violation_lines(answer.error)
    return {"resource": resource, "result": how, "revision": answer.revision, "errors": errors}


def _false_conditions(document: Any, *types: str) -> list[dict[str, Any]]:
    """Those of these types that don't hold for what is stored."""
    conditions = ((document or {}).get("status") or {}).get("conditions") or []
    return [c for c in conditions if c.get("type") in types and c.get("status") == "False"]


def _loose_ends(document: Any) -> list[str]:
    """What is stored and yet leads nowhere: a host or subset that is not there, a document that another one stands before."""
    return [str(c.get("message") or c.get("reason")) for c in _false_conditions(document, "Accepted", "ResolvedRefs")]


def _warn(client: Client, done: list[dict[str, Any]], waited: bool) -> None:
    """Adds `warnings`. Documents stored together may refer to each other, so they are looked at when all are there; where that wasn't
    waited for, only one that is alone is believed."""
    for one in done:
        path, document = one.pop("path", ""), one.pop("document", None)
        if waited and path:
            answer = client.ask("GET", path)
            document = answer.body if answer.ok else document
        one["warnings"] = _loose_ends(document) if waited or len(done) == 1 else []


def _standing(document: Any) -> list[str]:
    """What proxies refuse of a resource that didn't change: it is still not running."""
    return [c.get("message", "") for c in _false_conditions(document, "Programmed")]


@contextlib.contextmanager
def _reported(session: Session, report: Report) -> Iterator[None]:
    """Says what became of each document, also when the connection is lost on the way."""
    try:
        yield
    finally:
        for one in report.results:
            one["refusedBy"] = refusing(one, report.results, report.rollouts)
        if session.form == "table":
            for one in report.results:
                click.echo(line(one, report.rollouts, waited=report.timeout > 0) + report.note)


def _wait(session: Session, client: Client, report: Report) -> None:
    written = sorted({one["revision"] for one in report.results if one["result"] in WRITTEN})
    for revision in written if report.timeout else ():
        report.rollouts[revision] = follow(client, revision, report.timeout, quiet=session.form != "table")


def _finish(session: Session, client: Client, report: Report) -> None:
    """Warnings, then what is not well. Ends with 1 when something isn't."""
    _warn(client, report.results, report.timeout > 0)
    for one in report.results:
        for message in one["warnings"]:
            click.echo(f"warning: {one['resource']}: {message}", err=True)
    hints = way_out(report.results)
    lines = [f"{one['resource']}: {error}" for one in report.results for error in one["errors"]]
    lines += [f"{one['resource']}: not running: {message}" for one in report.results for message in one.pop("standing", ())]
    lines += dict.fromkeys(said for rollout in report.rollouts.values() for said in outcome(rollout))
    if session.form != "table":
        session.emit({"results": report.results, "rollouts": list(report.rollouts.values())}, "")
    if lines:
        click.echo("\n".join(lines + hints), err=True)
        raise SystemExit(BAD)
