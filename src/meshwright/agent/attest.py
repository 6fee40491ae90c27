# SPDX-License-Identifier: Apache-2.0
"""`meshwright agent attest`: the first identity of a workload on this host. A short-lived process, root before the agent's unit starts
(ExecStartPre=+): only it ever touches the host key, and it writes as the owner of the state directory."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from meshwright.agent import credential, log, prove, state
from meshwright.agent.backoff import Backoff
from meshwright.agent.exits import AWAY, OK, REFUSED
from meshwright.agent.settings import Settings
from meshwright.errors import ConfigError

ENOUGH_LIFE = 0.25
REQUEST_SECONDS = 10.0
MAX_ANSWER = 1024 * 1024
MAX_TOKEN_FILE = 4096
_OTHER_ROOT = "other_root"
_TRANSIENT = (408, 429, 500, 502, 503, 504)


class _Later(Exception):
    """Not now: the control plane is away or busy."""


class _No(Exception):
    """The control plane refused."""


@dataclass(frozen=True)
class Attempts:
    """How long to try, and the means to wait."""

    seconds: float
    backoff: Backoff
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


def attest(settings: Settings, attempts: Attempts) -> int:
    """The exit status. Raises ConfigError for settings, keys and files that can't be used."""
    try:
        roots = settings.ca_file.read_bytes()
    except OSError as error:
        raise ConfigError(f"caFile {settings.ca_file} can't be read: {error.strerror}") from error
    with state.as_owner(settings.state_dir):
        need = _need(settings, roots)
    if not need:
        log.info("attest.not_needed")
        return OK
    if need == _OTHER_ROOT:
        # The mesh may have a new CA. Or caFile is behind: the identity at hand is good, so a failure now must not stop the agent.
        status = _attest(settings, replace(attempts, seconds=0.0))
        return OK if status in (AWAY, REFUSED) else status
    return _attest(settings, attempts)


def _attest(settings: Settings, attempts: Attempts) -> int:
    deadline = attempts.monotonic() + attempts.seconds
    while True:
        try:
            _attest_once(settings)
        except _No as error:
            log.error("attest.refused", message=str(error), hint=_hint(settings))
            return REFUSED
        except _Later as error:
            wait = attempts.backoff.next()
            if attempts.monotonic() + wait > deadline:
                log.error("attest.gave_up", api="{}:{}".format(*settings.api), message=str(error), hint=_HINT_AWAY)
                return AWAY
            log.warning("attest.later", message=str(error), seconds=round(wait, 1))
            attempts.sleep(wait)
            continue
        return OK


_HINT_AWAY = "is the control plane running, does the firewall let this host reach it, and are api, serverName and caFile right?"


def _hint(settings: Settings) -> str:
    if settings.attest.method == "join_token":
        return f"a join token is good once, for 10 minutes, for node {settings.node} and workload {settings.proxy}: have a new one made"
    return (
        f"is node {settings.node} enrolled with this host's SSH key, for workload {settings.proxy}, and not banned? "
        "The control plane's audit log says what was wrong"
    )


def _need(settings: Settings, roots: bytes) -> str:
    """Why an attestation is needed, '' when it is not."""
    try:
        identity = state.load(settings.state_dir)
    except ConfigError as error:
        log.warning("attest.unusable_identity", message=str(error))
        return "unusable"
    if identity is None:
        return "none"
    if state.refused(settings.state_dir).exists():
        return "refused"
    if not credential.is_for(identity.chain, settings.proxy, settings.trust_domain):
        return "other_workload"
    if identity.life.left(datetime.now(timezone.utc)) <= ENOUGH_LIFE:
        return "old"
    return "" if credential.share_a_root(identity.bundle, roots) else _OTHER_ROOT


def _attest_once(settings: Settings) -> None:
    request = credential.new_key()
    nonce = _text(_post(settings, "/mesh/v1/attest/nonce", {"node": settings.node}), "nonce")
    body: dict[str, object] = {
        "node": settings.node,
        "workload": {"namespace": settings.proxy.namespace, "name": settings.proxy.name},
        "csr": request.csr,
        "nonce": nonce,
        "method": settings.attest.method,
        **_proof(settings, nonce, request.spki_sha256),
    }
    answer = _post(settings, "/mesh/v1/attest", body)
    chain = _text(answer, "certificate").encode()
    credential.check(request, chain, settings.proxy, settings.trust_domain)
    with state.as_owner(settings.state_dir):
        try:
            identity = state.save(settings.state_dir, request.key, chain, _text(answer, "bundle").encode())
            state.clear_refused(settings.state_dir)
        except OSError as error:
            raise ConfigError(f"{settings.state_dir} can't be written: {error}") from error
    if settings.attest.method == "join_token":
        settings.attest.path.unlink(missing_ok=True)  # used: it is good for nothing any more
    log.info("attest.done", spiffe_id=answer.get("spiffeId"), serial=identity.life.serial, not_after=identity.life.not_after.isoformat())


def _proof(settings: Settings, nonce: str, spki_sha256: str) -> dict[str, str]:
    if settings.attest.method == "join_token":
        return {"token": _token(settings)}
    key = prove.load_host_key(settings.attest.path)
    signed = prove.message(settings.node, str(settings.proxy), nonce, spki_sha256=spki_sha256, trust_domain=settings.trust_domain)
    proof = prove.sign(key, signed)
    return {"publicKey": proof.public_key, "signature": proof.signature}


def _token(settings: Settings) -> str:
    path = settings.attest.path
    try:
        with path.open("rb") as file:
            return file.read(MAX_TOKEN_FILE).decode("ascii").strip()
    except FileNotFoundError as error:
        raise ConfigError(f"there is no join token in {path} (one is good once): have a new one made") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the join token in {path} can't be read: {error}") from error


class _Connection(http.client.HTTPSConnection):
    """Connects to one name and verifies another."""

    def __init__(self, settings: Settings) -> None:
        self._server_name = settings.server_name
        self._tls = _tls(settings)
        host, port = settings.api
        super().__init__(host, port, timeout=REQUEST_SECONDS, context=self._tls)

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), REQUEST_SECONDS)
        try:
            self.sock = self._tls.wrap_socket(plain, server_hostname=self._server_name)
        except OSError:
            plain.close()
            raise


def _tls(settings: Settings) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"caFile {settings.ca_file} can't be used: {error}") from error
    return context


def _post(settings: Settings, path: str, body: dict[str, object]) -> dict[str, Any]:
    connection = _Connection(settings)
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Host": settings.server_name}
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read(MAX_ANSWER)
    except ssl.SSLCertVerificationError as error:
        raise _Later(f"the control plane's certificate is not good for {settings.server_name}: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _Later(f"{type(error).__name__}: {error}") from error
    finally:
        connection.close()
    return _read(response.status, content)


def _read(status: int, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise _Later(f"HTTP {status} without JSON")
    if status == 200:
        return document
    error = document.get("error")
    message = f"HTTP {status}: {error.get('message') if isinstance(error, dict) else ''}"[:500]
    if status in _TRANSIENT:
        raise _Later(message)
    raise _No(message)


def _text(answer: dict[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str):
        raise _Later(f"an answer without {key}")
    return value
