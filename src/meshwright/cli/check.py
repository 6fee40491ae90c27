# SPDX-License-Identifier: Apache-2.0
"""`check`: documents against the rules of the API, offline; every finding with file, path and reason."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import click

from meshwright.cli.documents import Document, Unreadable
from meshwright.cli.failure import BAD
from meshwright.cli.kind import label
from meshwright.cli.output import emit
from meshwright.cli.paths import files, read_one
from meshwright.cli.session import files_option, form_option
from meshwright.errors import Invalid, MeshwrightError, Violation
from meshwright.model.decode import decode


class Finding(NamedTuple):
    """One line of the answer. `severity`: error | warning."""

    file: str
    line: int
    kind: str
    namespace: str
    name: str
    path: str
    reason: str
    message: str
    severity: str = "error"

    def __str__(self) -> str:
        where = f"{self.kind}/{self.namespace}/{self.name}: " if self.kind else ""
        path = f"{self.path}: " if self.path else ""
        return f"{self.file}: {where}{path}{self.reason}: {self.message}"


@click.command()
@files_option
@form_option
def check(paths: Sequence[str], form: str) -> None:
    """Check documents without a control plane. Ends with 1 when one of them is bad."""
    found = findings_of(paths)
    bad = any(finding.severity == "error" for finding in found)
    emit([finding._asdict() for finding in found], form, "\n".join(str(finding) for finding in found))
    if bad:
        raise SystemExit(BAD)


def findings_of(paths: Sequence[str]) -> list[Finding]:
    found: list[Finding] = []
    seen: dict[str, str] = {}
    for path in files(paths):
        try:
            read = read_one(path)
        except Unreadable as error:
            reason, message = error.violations[0].reason, error.violations[0].message
            found.append(Finding(str(path), error.line, "", "", "", "", reason, f"line {error.line}: {message}" if error.line else message))
            continue
        except MeshwrightError as error:
            found.append(Finding(str(path), 0, "", "", "", error.path, error.reason, error.message))
            continue
        for document in read:
            found.extend(document_findings(document))
            name = label(document.object)
            place = f"{document.file}:{document.line}"
            if name in seen and "?" not in name:
                found.append(_finding(document, Violation("metadata.name", "Duplicate", f"is there already, in {seen[name]}"), "warning"))
            seen.setdefault(name, place)
    return found


def document_findings(document: Document) -> list[Finding]:
    """What decoding says of it."""
    try:
        decode(document.object)
    except Invalid as error:
        return [_finding(document, violation) for violation in error.violations]
    except MeshwrightError as error:
        return [_finding(document, Violation(error.path, error.reason, error.message))]
    return []


def _finding(document: Document, violation: Violation, severity: str = "error") -> Finding:
    kind, namespace, name = label(document.object).split("/", 2)
    return Finding(str(document.file), document.line, kind, namespace, name, *_three(violation), severity)


def _three(violation: Violation) -> tuple[str, str, str]:
    return violation.path, violation.reason, violation.message
