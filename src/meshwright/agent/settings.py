# SPDX-License-Identifier: Apache-2.0
"""The agent's settings, one JSON file a workload (docs/architecture.md, "Files and users")."""

from __future__ import annotations

import json
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from meshwright.errors import ConfigError
from meshwright.model.identity import ProxyId, is_dns_subdomain, is_trust_domain

MAX_FILE = 64 * 1024
_KNOWN = {"node", "workload", "trustDomain", "api", "discovery", "serverName", "caFile", "stateDir", "runDir", "attest", "renewAt"}


@dataclass(frozen=True)
class Attest:
    """`method` is ssh_host (then `path` is the host's private key) or join_token (then the file with the token)."""

    method: str
    path: Path


@dataclass(frozen=True)
class Settings:
    """`api` and `discovery` are (host, port); `renew_at` is the share of a certificate's life after which it is renewed."""

    node: str
    proxy: ProxyId
    trust_domain: str
    api: tuple[str, int]
    discovery: tuple[str, int]
    server_name: str
    ca_file: Path
    state_dir: Path
    run_dir: Path
    attest: Attest
    renew_at: float = 0.5

    @property
    def agent_socket(self) -> Path:
        return self.run_dir / "agent.sock"

    @property
    def admin_socket(self) -> Path:
        return self.run_dir / "admin.sock"


def load(path: Path) -> Settings:
    """Raises ConfigError that names the file and the field."""
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(MAX_FILE))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    try:
        return parse(document)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.path}: {error.message}", path=error.path) from error


def parse(document: Any) -> Settings:
    """Raises ConfigError with the field's path."""
    if not isinstance(document, dict):
        raise ConfigError("must be an object")
    unknown = sorted(set(document) - _KNOWN)
    if unknown:
        raise ConfigError("unknown setting", path=unknown[0])
    node = _text(document, "node")
    if not is_dns_subdomain(node):
        raise ConfigError("not a node's name", path="node")
    trust_domain = _text(document, "trustDomain")
    if not is_trust_domain(trust_domain):
        raise ConfigError("not a trust domain", path="trustDomain")
    return Settings(
        node=node,
        proxy=_proxy(document),
        trust_domain=trust_domain,
        api=_https(document),
        discovery=_host_port(_text(document, "discovery"), "discovery"),
        server_name=_text(document, "serverName"),
        ca_file=_path(document, "caFile"),
        state_dir=_path(document, "stateDir"),
        run_dir=_path(document, "runDir"),
        attest=_attest(document),
        renew_at=_renew_at(document),
    )


def _text(document: dict[str, Any], key: str, path: str = "") -> str:
    value = document.get(key)
    if not isinstance(value, str) or not value:
        raise ConfigError("missing, or not a text", path=f"{path}{key}")
    return value


def _path(document: dict[str, Any], key: str, path: str = "") -> Path:
    value = Path(_text(document, key, path))
    if not value.is_absolute():
        raise ConfigError("must be an absolute path", path=f"{path}{key}")
    return value


def _proxy(document: dict[str, Any]) -> ProxyId:
    workload = document.get("workload")
    if not isinstance(workload, dict):
        raise ConfigError('must be {"namespace", "name"}', path="workload")
    proxy = ProxyId(_text(workload, "name", "workload."), _text(workload, "namespace", "workload."))
    try:
        if ProxyId.parse(str(proxy)) == proxy:
            return proxy
    except ValueError as error:
        raise ConfigError(str(error), path="workload") from error
    raise ConfigError("a namespace has no dot", path="workload.namespace")


def _https(document: dict[str, Any]) -> tuple[str, int]:
    url = urllib.parse.urlsplit(_text(document, "api"))
    if url.scheme != "https" or url.path not in ("", "/") or url.query or "@" in url.netloc:
        raise ConfigError("must be https://HOST:PORT", path="api")
    return _host_port(url.netloc if url.port else f"{url.netloc}:443", "api")


def _host_port(text: str, path: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError("must be HOST:PORT", path=path)
    return host, int(port)


def _attest(document: dict[str, Any]) -> Attest:
    attest = document.get("attest")
    method = attest.get("method") if isinstance(attest, dict) else None
    if isinstance(attest, dict) and method == "ssh_host":
        return Attest("ssh_host", _path(attest, "hostKey", "attest."))
    if isinstance(attest, dict) and method == "join_token":
        return Attest("join_token", _path(attest, "tokenFile", "attest."))
    raise ConfigError("must be ssh_host or join_token", path="attest.method")


def _renew_at(document: dict[str, Any]) -> float:
    value = document.get("renewAt", 0.5)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.05 <= value <= 0.75:
        raise ConfigError("must be a number from 0.05 to 0.75", path="renewAt")
    return float(value)
