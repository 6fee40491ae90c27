# SPDX-License-Identifier: Apache-2.0
"""`meshwright agent renew`: one new key and certificate over mutual TLS with the current one. A short-lived process, started by `run`."""

from __future__ import annotations

import json

import grpc

from meshwright.agent import credential, log, state
from meshwright.agent.exits import AWAY, BAD_ANSWER, CONFIG, FAILED, OK, REFUSED
from meshwright.agent.settings import Settings
from meshwright.agent.upstream import CONNECT_SECONDS, RENEW, credentials, options, target
from meshwright.errors import ConfigError

ANSWER_SECONDS = 20.0
_NO = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


def renew(settings: Settings) -> int:
    """The exit status."""
    identity = state.load(settings.state_dir)
    if identity is None:
        log.error("renew.no_identity", hint="run meshwright agent attest")
        return CONFIG
    request = credential.new_key()
    try:
        answer = _ask(settings, identity, request.csr)
    except grpc.RpcError as error:
        refused = error.code() in _NO
        log.warning("renew.refused" if refused else "renew.failed", code=error.code().name, message=str(error.details())[:500])
        return REFUSED if refused else AWAY
    try:
        document = json.loads(answer)
        chain, bundle = document["certificate"].encode(), document["bundle"].encode()
        credential.check(request, chain, settings.proxy, settings.trust_domain)
        state.save(settings.state_dir, request.key, chain, bundle)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        log.error("renew.bad_answer", message=str(error)[:500])
        return BAD_ANSWER
    except OSError as error:
        log.error("renew.unsaved", message=str(error))
        return FAILED
    return OK


def _ask(settings: Settings, identity: state.Identity, csr: str) -> bytes:
    with grpc.secure_channel(target(settings), credentials(identity), options(settings)) as channel:
        call = channel.unary_unary(RENEW)
        body = json.dumps({"csr": csr}).encode()
        answer: bytes = call(body, timeout=CONNECT_SECONDS + ANSWER_SECONDS, wait_for_ready=False)
        return answer
