# SPDX-License-Identifier: Apache-2.0
"""What everybody who trusts the mesh has to know of its CA."""

from __future__ import annotations

from starlette.responses import Response

from meshwright.api.answers import json_answer
from meshwright.api.auth import rfc3339
from meshwright.api.call import Call


async def get(call: Call) -> Response:
    authority = call.parts.authority
    return json_answer(
        {
            "trustDomain": authority.trust_domain,
            "bundle": authority.bundle.decode(),
            "active": {"serial": authority.serial, "notAfter": rfc3339(authority.not_after)},
            "svidTtlSeconds": call.parts.svid_ttl,
        }
    )
