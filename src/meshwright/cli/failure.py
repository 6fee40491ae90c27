# SPDX-License-Identifier: Apache-2.0
"""How the command ends when it doesn't end well."""

from __future__ import annotations

import click

BAD = 1
UNUSABLE = 2


class Bad(click.ClickException):
    """The thing asked about is bad: a document refused, a rule rejected, something that isn't there."""

    exit_code = BAD


class Unusable(click.ClickException):
    """It could not be asked: wrong use, no connection, no permission. The message tells the way out."""

    exit_code = UNUSABLE
