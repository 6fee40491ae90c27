# SPDX-License-Identifier: Apache-2.0
"""What goes to stdout: JSON, YAML or a table; the same bytes for the same answer."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import click

FORMATS = ("table", "json", "yaml")


def emit(data: Any, form: str, table: str) -> None:
    """`data` as JSON or YAML, or the `table` that was made of it."""
    if form == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False))
    elif form == "yaml":
        click.echo(yaml_text(data), nl=False)
    elif table:
        click.echo(table)


def yaml_text(data: Any) -> str:
    from ruamel.yaml import YAML

    writer: Any = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False
    writer.width = 140
    buffer = io.StringIO()
    writer.dump(data, buffer)
    return buffer.getvalue()


def columns(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table without lines, as wide as it has to be: easy on awk and on eyes."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells)


def condition(document: Any, wanted: str) -> str:
    """`True`, `False (Reason)` or `-` for one condition of a resource."""
    for found in (document.get("status") or {}).get("conditions") or []:
        if found.get("type") == wanted:
            status = str(found.get("status", ""))
            return status if status == "True" else f"{status} ({found.get('reason', '')})"
    return "-"
