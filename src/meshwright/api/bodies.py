# SPDX-License-Identifier: Apache-2.0
"""Bodies that are not resources of the rule API: JSON text -> struct, with the path of what is wrong."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from meshwright.errors import BadRequest, Invalid, Violation
from meshwright.model import walk
from meshwright.model.jsontext import parse_json

_WHERE = re.compile(r"(.*) - at `\$\.?(.*)`", re.DOTALL)


def read_struct(body: bytes, shape: Any) -> Any:
    """Raises BadRequest for what isn't JSON, Invalid for what isn't of this shape."""
    return convert(parse_json(body), shape)


def convert(document: object, shape: Any) -> Any:
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        report = walk.Report()
        if isinstance(shape, type):
            walk.read(shape, document, "", report)
        if report.violations:
            raise Invalid(tuple(report.violations)) from None
        match = _WHERE.fullmatch(str(error))
        message, path = (match.group(1), match.group(2)) if match else (str(error), "")
        raise Invalid((Violation(path, "InvalidValue", message),)) from None
