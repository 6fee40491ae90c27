# SPDX-License-Identifier: Apache-2.0
"""The options that verbs share."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click

from meshwright.cli.connection import Client, Options, resolve
from meshwright.cli.output import FORMATS, emit


class Session(NamedTuple):
    """What the shared options say."""

    options: Options
    form: str

    def client(self) -> Client:
        return Client(resolve(self.options, os.environ, Path.home()))

    def emit(self, data: Any, table: str) -> None:
        emit(data, self.form, table)


form_option = click.option("-o", "form", type=click.Choice(FORMATS), default="table", show_default=True, help="How to show the answer.")
files_option = click.option(
    "-f", "paths", multiple=True, required=True, metavar="PATH", help="A file or directory of YAML or JSON; repeatable."
)


def online(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that asks the control plane: it gets a Session before its own arguments."""

    @click.option("--api-url", default="", metavar="URL", help="https://HOST:15080 [MESHWRIGHT_API_URL]")
    @click.option(
        "--token-file", default="", metavar="FILE", help="file with the token [MESHWRIGHT_TOKEN_FILE, or MESHWRIGHT_TOKEN itself]"
    )
    @click.option("--ca-file", default="", metavar="FILE", help="the mesh's CA in PEM [MESHWRIGHT_CA_FILE]")
    @form_option
    @functools.wraps(verb)
    def wrapped(*args: Any, api_url: str, token_file: str, ca_file: str, form: str, **kwargs: Any) -> None:
        verb(Session(Options(api_url, token_file, ca_file), form), *args, **kwargs)

    return wrapped
