# SPDX-License-Identifier: Apache-2.0
"""What the API answers with: JSON, and errors in one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

from meshwright.errors import Invalid, MeshwrightError

JSON = "application/json"
_encoder = msgspec.json.Encoder(decimal_format="number")


def json_answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(_encoder.encode(content), status, headers, JSON)


def error_body(reason: str, message: str, path: str = "", violations: tuple[Any, ...] = ()) -> dict[str, Any]:
    listed = [{"path": v.path, "reason": v.reason, "message": v.message} for v in violations]
    return {"error": {"reason": reason, "message": message, "path": path, "violations": listed}}


def error_answer(error: MeshwrightError, headers: Mapping[str, str] | None = None) -> Response:
    violations = error.violations if isinstance(error, Invalid) else ()
    return json_answer(error_body(error.reason, error.message, error.path, violations), error.http_status, headers)


def write_headers(revision: int, changed: bool) -> dict[str, str]:
    """`revision`: the one at which what was asked for holds."""
    return {"Meshwright-Revision": str(revision), "Meshwright-Changed": "true" if changed else "false"}
