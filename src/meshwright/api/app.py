# SPDX-License-Identifier: Apache-2.0
"""The table, the handlers and the parts -> an ASGI application."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from meshwright.api.answers import error_body, json_answer
from meshwright.api.call import Api, Door, Edge, Handler, Parts
from meshwright.api.policy import TABLE, Rule
from meshwright.api.routes import ROUTES
from meshwright.errors import ConfigError


def build(parts: Parts, table: Iterable[Rule] = TABLE, handlers: Mapping[tuple[str, str], Handler] = ROUTES) -> Edge:
    """The application. Raises ConfigError when a route is not in the table, or one of the table has no route."""
    rules = {(rule.method, rule.path): rule for rule in table}
    refuse_gaps(set(rules), set(handlers))
    api = Api(parts)
    doors: dict[str, dict[str, Door]] = {}
    for (method, path), handler in handlers.items():
        doors.setdefault(path, {})[method] = Door(api, rules[method, path], handler)
    app = Starlette(routes=[_route(path, by_method) for path, by_method in doors.items()], exception_handlers={HTTPException: _http_error})
    app.router.redirect_slashes = False
    refuse_gaps(set(rules), served(app.routes))
    return Edge(app, parts.random_bytes)


def served(routes: Iterable[BaseRoute]) -> set[tuple[str, str]]:
    """(method, path) of every route; one that is no plain HTTP route is (type, path) and so in no table."""
    found: set[tuple[str, str]] = set()
    for route in routes:
        if isinstance(route, Route) and route.methods:
            found |= {(method, route.path) for method in route.methods}
        else:
            found.add((type(route).__name__, getattr(route, "path", "?")))
    return found


def refuse_gaps(table: set[tuple[str, str]], routes: set[tuple[str, str]]) -> None:
    unlisted, unserved = sorted(routes - table), sorted(table - routes)
    if unlisted or unserved:
        raise ConfigError(f"routes and api/policy.py disagree: not in the table {unlisted}, not served {unserved}")


def _route(path: str, doors: Mapping[str, Door]) -> Route:
    async def endpoint(request: Request) -> Response:
        return await doors[request.method](request)

    route = Route(path, endpoint, methods=list(doors))
    if route.methods is not None:
        route.methods.discard("HEAD")  # Starlette adds it to every GET; the table doesn't know it
    return route


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Any = getattr(error, "headers", None)
    if status == 405:
        return json_answer(error_body("MethodNotAllowed", f"{request.method[:16]} is not for this path"), 405, headers)
    return json_answer(error_body("NotFound", "there is nothing at this path; see /openapi.json"), status, headers)
