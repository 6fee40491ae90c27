# SPDX-License-Identifier: Apache-2.0
"""Query parameters by route. One that is not here is refused: a misspelt `dryrun=All` must not write."""

from __future__ import annotations

import re
from typing import NamedTuple

from starlette.datastructures import QueryParams

from meshwright.errors import BadRequest


class Parameter(NamedTuple):
    """`kind`: text | number | choice. A number is within `low`..`high`; a choice is one of `choices`."""

    name: str
    kind: str
    description: str
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()


MAX_WAIT_SECONDS = 600
MAX_WATCH_SECONDS = 600
MAX_REVISION = 2**63 - 1
_NUMBER = re.compile(r"[0-9]{1,19}")
_MAX_TEXT = 1024

DRY_RUN = Parameter("dryRun", "choice", "All: check and answer, store nothing", choices=("All",))
VERSION = Parameter("resourceVersion", "number", "the version that must be the current one", high=MAX_REVISION)
_LIST = (
    Parameter("labelSelector", "text", "equality only: a=b,c=d"),
    Parameter("watch", "choice", "1: stream changes as JSON lines", choices=("0", "1", "true", "false")),
    Parameter("resourceVersion", "number", "watch: changes after this version; without it what is there comes first", high=MAX_REVISION),
    Parameter("timeoutSeconds", "number", "watch: ends after this", low=1, high=MAX_WATCH_SECONDS),
)
_KINDS = "/apis/{group}/{version}"
_ONE = _KINDS + "/namespaces/{namespace}/{plural}/{name}"

PARAMETERS: dict[tuple[str, str], tuple[Parameter, ...]] = {
    ("GET", _KINDS + "/{plural}"): _LIST,
    ("GET", _KINDS + "/namespaces/{namespace}/{plural}"): _LIST,
    ("PUT", _ONE): (DRY_RUN,),
    ("PATCH", _ONE): (DRY_RUN,),
    ("DELETE", _ONE): (DRY_RUN, VERSION),
    ("PUT", "/mesh/v1/nodes/{name}"): (DRY_RUN,),
    ("DELETE", "/mesh/v1/nodes/{name}"): (DRY_RUN, VERSION),
    ("GET", "/mesh/v1/rollouts/{revision}"): (Parameter("wait", "number", "wait so many seconds for an end", high=MAX_WAIT_SECONDS),),
    ("GET", "/mesh/v1/audit"): (
        Parameter("after", "number", "entries with a greater sequence number", high=MAX_REVISION),
        Parameter("limit", "number", "so many at most (1000)", low=1, high=1000),
    ),
}


def check(route: tuple[str, str], given: QueryParams) -> dict[str, str]:
    """The parameters by name. Raises BadRequest for an unknown, repeated or impossible one."""
    known = {parameter.name: parameter for parameter in PARAMETERS.get(route, ())}
    found: dict[str, str] = {}
    for name, value in given.multi_items():
        parameter = known.get(name)
        if parameter is None:
            listed = ", ".join(known) if known else "none"
            raise BadRequest(f"query parameter {name[:64]!r} is not known here (known: {listed})", path=name[:64])
        if name in found:
            raise BadRequest(f"query parameter {name!r} is given twice", path=name)
        _check_value(parameter, value)
        found[name] = value
    return found


def _check_value(parameter: Parameter, value: str) -> None:
    if parameter.kind == "choice" and value not in parameter.choices:
        raise BadRequest(f"query parameter {parameter.name!r} must be {' or '.join(parameter.choices)}", path=parameter.name)
    if parameter.kind == "number" and not (_NUMBER.fullmatch(value) and parameter.low <= int(value) <= parameter.high):
        raise BadRequest(
            f"query parameter {parameter.name!r} must be a number from {parameter.low} to {parameter.high}", path=parameter.name
        )
    if len(value) > _MAX_TEXT:
        raise BadRequest(f"query parameter {parameter.name!r} is longer than {_MAX_TEXT} characters", path=parameter.name)
