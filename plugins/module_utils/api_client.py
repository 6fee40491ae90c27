# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The HTTPS client of the rule API: one connection that is kept, JSON in and out, every answer within a deadline."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import typing as t
from urllib.parse import quote, urlencode, urlsplit

CONFIG_PATH = "~/.config/meshwright/config.json"
MAX_ANSWER = 256 * 1024 * 1024
RETRIED = (429, 503)
CONNECT_SECONDS = 10.0
# How long a control plane is tried that nobody has had an answer from yet: enough for one that is just being started, short enough for
# whoever named the wrong one. One that has answered before is waited for as long as its answer may take.
PATIENCE_SECONDS = 3.0
WHERE = "api_url, MESHWRIGHT_API_URL, or apiUrl in %s" % CONFIG_PATH
UNIT = "systemctl status meshwright-control-plane"


class ApiError(Exception):
    """What the API refused, or why it could not be asked. `status` is 0 when there was no answer at all."""

    def __init__(
        self, message: str, status: int = 0, reason: str = "Unreachable", violations: t.Sequence[t.Mapping[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.violations = [dict(violation) for violation in violations]


class Answer(t.NamedTuple):
    """A good answer: its decoded body, the revision at which it holds (0: it says none) and whether it changed anything."""

    data: t.Any
    revision: int
    changed: bool


class Access(t.NamedTuple):
    """Where the API is and with what it lets us in. `ca_path` None: the system's certificates."""

    url: str
    token: str
    ca_path: str | None
    timeout: float


def load_access(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> Access:
    """Access from a module's parameters (environment variables are already in them) and config.json. Raises ApiError."""
    config = _config(environ.get("MESHWRIGHT_CONFIG") or CONFIG_PATH)
    url = params.get("api_url") or config.get("apiUrl")
    if not url:
        raise ApiError("api_url is missing: give the option, set MESHWRIGHT_API_URL, or have %s say apiUrl" % CONFIG_PATH, reason="Usage")
    token = params.get("api_token") or ""
    token_path = params.get("api_token_path") or config.get("tokenFile")
    if not token and token_path:
        token = _read(token_path, "api_token_path")
    if not token:
        raise ApiError("api_token_path (or api_token) is missing: set MESHWRIGHT_TOKEN_FILE, or give the option", reason="Usage")
    return Access(url.rstrip("/"), token, params.get("ca_path") or config.get("caFile"), float(params.get("api_timeout") or 30))


def _config(path: str) -> dict[str, str]:
    path = os.path.expanduser(path)
    if not os.path.exists(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
    except (OSError, ValueError) as error:
        raise ApiError("%s can't be read: %s" % (path, error), reason="Usage") from error
    if not isinstance(config, dict):
        raise ApiError("%s is not a JSON object" % path, reason="Usage")
    return config


def _read(path: str, option: str) -> str:
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ApiError("%s: %s can't be read: %s" % (option, path, error), reason="Usage") from error


class ApiClient:
    """Speaks with one control plane. Not for several threads."""

    def __init__(
        self, access: Access, clock: t.Callable[[], float] = time.monotonic, pause: t.Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(access.url)
        if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
            raise ApiError("api_url must be like https://mesh.example.org:15080, not %r" % access.url, reason="Usage")
        self._access = access
        self._host = parts.hostname
        self._port = parts.port or 443
        self._prefix = parts.path
        self._clock = clock
        self._pause = pause
        self._context = _context(access.ca_path)
        self._connection: http.client.HTTPSConnection | None = None
        self._answered = False

    def get(self, path: str, query: t.Mapping[str, str] | None = None, extra_time: float = 0) -> Answer:
        """`extra_time` are the seconds that the server itself may wait before it answers (a long poll)."""
        return self._request("GET", path, query, None, extra_time)

    def find(self, path: str) -> t.Any:
        """The body, or None when there is no such thing."""
        try:
            return self.get(path).data
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def put(self, path: str, body: t.Any, dry_run: bool = False) -> Answer:
        return self._request("PUT", path, {"dryRun": "All"} if dry_run else None, body)

    def delete(self, path: str, dry_run: bool = False) -> Answer:
        return self._request("DELETE", path, {"dryRun": "All"} if dry_run else None, None)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(self, method: str, path: str, query: t.Mapping[str, str] | None, body: t.Any, extra_time: float = 0) -> Answer:
        """Every method here may be repeated without harm, so what met a closed connection or a busy server is sent again."""
        started = self._clock()
        deadline = started + self._access.timeout + extra_time
        patience = deadline if self._answered else min(deadline, started + PATIENCE_SECONDS)
        target = self._prefix + path + ("?" + urlencode(query) if query else "")
        delay = 0.1
        while True:
            try:
                status, headers, data = self._exchange(method, target, body, max(deadline - self._clock(), 0.1))
                self._answered = True
                if status not in RETRIED or self._clock() + delay > deadline:
                    return _answer(status, headers, data, "%s %s" % (method, path))
            except ssl.SSLCertVerificationError as error:
                raise ApiError(
                    "%s: its certificate is not good: %s (ca_path is %s)"
                    % (self._access.url, error.verify_message, self._access.ca_path or "not set")
                ) from error
            except (OSError, http.client.HTTPException) as error:
                connected = self._connection is not None and self._connection.sock is not None and not isinstance(error, ssl.SSLError)
                self.close()
                if self._clock() + delay > (deadline if connected else patience):
                    raise ApiError(_no_answer(self._access.url, error, connected, self._clock() - started)) from error
            self._pause(delay)
            delay = min(delay * 2, 2.0)

    def _exchange(self, method: str, target: str, body: t.Any, timeout: float) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self._host, self._port, context=self._context)
        if self._connection.sock is None:
            self._connection.timeout = min(timeout, CONNECT_SECONDS)
            self._connection.connect()
        self._connection.sock.settimeout(timeout)
        headers = {"Authorization": "Bearer " + self._access.token, "Accept": "application/json"}
        payload = None
        if body is not None:
            payload = json.dumps(body).encode("utf-8")
            headers["Content-Type"] = "application/json"
        self._connection.request(method, target, body=payload, headers=headers)
        response = self._connection.getresponse()
        data = response.read(MAX_ANSWER)
        return response.status, response.headers, data


def _no_answer(url: str, error: Exception, connected: bool, seconds: float) -> str:
    """What was tried, why it failed, and what to look at. The words are those of the command `meshwright`."""
    tried = "%s (tried for %d s)" % (url, round(seconds))
    if isinstance(error, ConnectionRefusedError):
        return "%s: nothing listens there: check host and port (%s), and on it: %s" % (tried, WHERE, UNIT)
    if isinstance(error, socket.gaierror):
        return "%s: its name leads to no address (%s): check the host's name (%s)" % (tried, error.strerror or error, WHERE)
    if isinstance(error, ssl.SSLError):
        return "%s: no TLS with it (%s): is it the control plane's HTTPS port (15080)? (%s)" % (tried, error.reason or error, WHERE)
    if connected:
        said = (
            "no answer in time" if isinstance(error, socket.timeout) else "it ended the connection (%s)" % (error or type(error).__name__)
        )
        return "%s: %s: see the control plane's log: journalctl -u meshwright-control-plane" % (tried, said)
    return "%s: no connection (%s): check the address (%s) and the firewalls between, and on the host: %s" % (tried, error, WHERE, UNIT)


def segment(text: str) -> str:
    """One segment of a path."""
    return quote(text, safe="")


def _context(ca_path: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=os.path.expanduser(ca_path) if ca_path else None)
    except (OSError, ssl.SSLError) as error:
        raise ApiError("ca_path: %s can't be used: %s" % (ca_path, error), reason="Usage") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _answer(status: int, headers: t.Mapping[str, str], data: bytes, what: str) -> Answer:
    try:
        body = json.loads(data) if data else None
    except ValueError as error:
        raise ApiError("%s: the answer (%d) is not JSON; is api_url the rule API's?" % (what, status), status, "NotJson") from error
    if 200 <= status < 300:
        revision = headers.get("Meshwright-Revision") or "0"
        return Answer(body, int(revision), (headers.get("Meshwright-Changed") or "").lower() == "true")
    told = body.get("error") if isinstance(body, dict) else None
    if not isinstance(told, dict):
        raise ApiError("%s: status %d" % (what, status), status, "Status%d" % status)
    raise ApiError(
        told.get("message") or "status %d" % status, status, told.get("reason") or "Status%d" % status, told.get("violations") or ()
    )
