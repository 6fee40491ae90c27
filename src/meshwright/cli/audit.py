# SPDX-License-Identifier: Apache-2.0
"""`audit verify`: does the chain of a file hold?"""

from __future__ import annotations

from pathlib import Path

import click

from meshwright.cli.failure import Bad, Unusable
from meshwright.cli.output import emit
from meshwright.cli.session import form_option


@click.group()
def audit() -> None:
    """The audit of the control plane."""


@audit.command()
@click.argument("path", type=click.Path(path_type=Path), default=Path("/var/lib/meshwright/control-plane/audit.log"))
@form_option
def verify(path: Path, form: str) -> None:
    """Check that no line of the audit was changed, left out or put in. Compare the head with one that you kept elsewhere."""
    from meshwright.api.audit import Broken
    from meshwright.api.audit import verify as verify_chain

    try:
        lines, head = verify_chain(path)
    except Broken as error:
        raise Bad(error.message) from error
    except OSError as error:
        raise Unusable(f"{path}: can't be read: {error.strerror}") from error
    emit({"lines": lines, "head": head}, form, f"{lines} lines, head {head}")
