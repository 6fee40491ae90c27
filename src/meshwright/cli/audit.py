# SPDX-License-Identifier: Apache-2.0
"""`audit verify`: does the chain of its files hold?"""

from __future__ import annotations

from pathlib import Path

import click

from meshwright.cli.failure import Bad, Unusable
from meshwright.cli.output import emit
from meshwright.cli.session import form_option

DEFAULT = Path("/var/lib/meshwright/control-plane/audit.log")


@click.group()
def audit() -> None:
    """The audit of the control plane."""


@audit.command()
@click.argument("path", type=click.Path(path_type=Path), default=DEFAULT)
@form_option
def verify(path: Path, form: str) -> None:
    """Check that no line of the audit was changed, left out or put in, in this file and those kept before it (FILE.N). To be run on the
    control plane's host. Compare the head with one that you kept elsewhere."""
    from meshwright.api.chain import Broken
    from meshwright.api.chain import verify as verify_chain

    try:
        found = verify_chain(path)
    except Broken as error:
        raise Bad(error.message) from error
    except OSError as error:
        raise Unusable(
            f"{error.filename or path}: can't be read: {error.strerror}; run this on the control plane's host, as root"
            f" (its audit is {DEFAULT}), or name the file"
        ) from error
    begin = f"from line {found.first} ({found.since}), " if found.lines else ""
    emit(found._asdict(), form, f"{found.lines} lines {begin}in {found.files} file{'s' * (found.files != 1)}, head {found.head}")
