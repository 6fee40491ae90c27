# SPDX-License-Identifier: Apache-2.0
"""What requests a rule of a VirtualService is for."""

from __future__ import annotations

from functools import cache
from typing import Any

from envoy.config.route.v3 import route_components_pb2
from envoy.type.matcher.v3 import string_pb2

from meshwright.model.networking import HTTPMatchRequest, StringMatch

_ANY_VALUE = (".*", "^.*$", ".*$", "^.*")


@cache
def anything() -> Any:
    """Every path. Read only."""
    return route_components_pb2.RouteMatch(prefix="/")


def fill(target: Any, request: HTTPMatchRequest) -> None:
    """Writes the match into a RouteMatch. `port` is decided before (a listener is of one port)."""
    _path(target, request)
    for name, match in ((":method", request.method), (":authority", request.authority)):
        if match is not None:
            _header(target, name, match)
    for name, match in sorted(request.headers.items()):
        _header(target, name, match)
    for name, match in sorted(request.without_headers.items()):
        _header(target, name, match, invert=True)
    for name, match in sorted(request.query_params.items()):
        parameter = target.query_parameters.add(name=name)
        text = _string(match)
        if text is None:
            parameter.present_match = True
        else:
            parameter.string_match.CopyFrom(text)


def _path(target: Any, request: HTTPMatchRequest) -> None:
    uri = request.uri
    if uri is None or uri == StringMatch():
        target.prefix = "/"
    elif uri.exact is not None:
        target.path = uri.exact
    elif uri.prefix is not None:
        # Istio's prefix is one of text: /api takes /apis too.
        target.prefix = uri.prefix
    else:
        target.safe_regex.regex = uri.regex or ""
    if request.ignore_uri_case and uri is not None and uri.regex is None:
        target.case_sensitive.value = False


def _header(target: Any, name: str, match: StringMatch, *, invert: bool = False) -> None:
    header = target.headers.add(name=name, invert_match=invert)
    text = None if invert and match.regex in _ANY_VALUE else _string(match)
    if text is None:
        header.present_match = True
    else:
        header.string_match.CopyFrom(text)
        # Else Envoy takes a header that is not there for one that has the value, and `withoutHeaders` would not hold.
        header.treat_missing_header_as_empty = invert


def _string(match: StringMatch) -> Any:
    """None: only that it is there."""
    if match.exact is not None:
        return string_pb2.StringMatcher(exact=match.exact)
    if match.prefix:
        return string_pb2.StringMatcher(prefix=match.prefix)
    if match.regex is not None:
        matcher = string_pb2.StringMatcher()
        matcher.safe_regex.regex = match.regex
        return matcher
    return None
