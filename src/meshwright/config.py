# SPDX-License-Identifier: Apache-2.0
"""The settings of `serve`: one TOML file, read once into one frozen Settings. Unknown keys are refused by name."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from meshwright.errors import ConfigError
from meshwright.model.duration import Duration
from meshwright.model.identity import DEFAULT_TRUST_DOMAIN, is_dns_label, is_dns_subdomain, is_trust_domain

DEFAULT_PATH = Path("/etc/meshwright/control-plane.toml")
MIN_SVID_TTL_SECONDS = 30.0
MAX_SVID_TTL_SECONDS = 30 * 24 * 3600.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what callers may ask at once, and on what is kept (table `[limits]`). Rates are per second and caller."""

    body_bytes: int = 1024 * 1024
    connections: int = 1024
    connections_per_source: int = 256
    watches: int = 256
    reads_per_second: float = 200.0
    writes_per_second: float = 200.0
    attestations_per_second: float = 20.0
    discovery_accepts_per_second: float = 100.0
    discovery_streams_per_proxy: int = 8
    resources_per_namespace: int = 5_000
    bytes_per_namespace: int = 64 * 1024 * 1024
    resources: int = 50_000
    audit_file_bytes: int = 64 * 1024 * 1024
    audit_files: int = 8


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of it. Durations are seconds. `server_names` are the DNS names and IP addresses in the control plane's own certificate;
    `domain` is the last label(s) of the names that services of the inventory get."""

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    domain: str = "mesh"
    root_namespace: str = "meshwright-system"
    data_dir: Path = Path("/var/lib/meshwright/control-plane")
    api_bind: str = "[::]"
    api_port: int = 15080
    discovery_bind: str = "[::]"
    discovery_port: int = 15012
    server_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
    svid_ttl: float = 24 * 3600.0
    hold_off: float = 0.05
    hold_off_max: float = 1.0
    log_level: str = "info"
    limits: Limits = Limits()


def load(path: Path) -> Settings:
    """Settings of the file. Raises ConfigError that names the file and how to mend it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; write one (docs/reference/settings.md) or name another with -c FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    return parse(text, str(path))


def parse(text: str, origin: str) -> Settings:
    """As `load`, of the TOML text itself; `origin` stands before every message."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: is not TOML: {error}") from error
    try:
        return _settings(document)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error.message}", path=error.path) from None


def _settings(document: Mapping[str, Any]) -> Settings:
    _refuse_unknown(document, Settings, "")
    limits = document.get("limits", {})
    if not isinstance(limits, dict):
        raise ConfigError("limits: must be a table: [limits]", path="limits")
    _refuse_unknown(limits, Limits, "limits.")
    values: dict[str, Any] = {key: _value(key, document[key]) for key in document if key != "limits"}
    bounds: dict[str, Any] = {key: _limit(key, value) for key, value in limits.items()}
    values["limits"] = Limits(**bounds)
    settings = Settings(**values)
    if settings.hold_off > settings.hold_off_max:
        raise ConfigError("hold_off: is longer than hold_off_max; make it shorter", path="hold_off")
    if settings.api_port == settings.discovery_port and settings.api_port:
        raise ConfigError("discovery_port: is the same as api_port; each door needs a port of its own", path="discovery_port")
    return settings


def _refuse_unknown(given: Mapping[str, Any], shape: type[Settings] | type[Limits], prefix: str) -> None:
    known = [field.name for field in dataclasses.fields(shape)]
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {prefix}{near[0]}?" if near else f"known are: {', '.join(prefix + name for name in known)}"
            raise ConfigError(f"{prefix}{key}: is not a setting; {hint}", path=prefix + key)


def _value(key: str, value: Any) -> Any:
    if key in ("svid_ttl", "hold_off", "hold_off_max"):
        return _seconds(key, value)
    if key in ("api_port", "discovery_port"):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
            raise ConfigError(f"{key}: must be a port, 0 to 65535 (0: any free one)", path=key)
        return value
    if key == "server_names":
        return _server_names(value)
    if not isinstance(value, str):
        raise ConfigError(f'{key}: must be a text: {key} = "..."', path=key)
    return _text(key, value)


def _text(key: str, value: str) -> Any:
    if key == "trust_domain" and not is_trust_domain(value):
        raise ConfigError("trust_domain: must be lower-case letters, digits, '.', '-' and '_', like cluster.local", path=key)
    if key == "domain" and not is_dns_subdomain(value):
        raise ConfigError("domain: must be a DNS name in lower case, like mesh", path=key)
    if key == "root_namespace" and not is_dns_label(value):
        raise ConfigError("root_namespace: must be a DNS label, like meshwright-system", path=key)
    if key in ("api_bind", "discovery_bind") and not _is_address(value.removeprefix("[").removesuffix("]")):
        raise ConfigError(f'{key}: must be an IP address; "[::]" is every address of both families, "0.0.0.0" every IPv4 address', path=key)
    if key == "log_level" and value not in ("debug", "info", "warning", "error"):
        raise ConfigError("log_level: must be debug, info, warning or error", path=key)
    if key == "data_dir":
        if not value.startswith("/"):
            raise ConfigError("data_dir: must be an absolute path", path=key)
        return Path(value)
    return value


def _seconds(key: str, value: Any) -> float:
    if not isinstance(value, str):
        raise ConfigError(f'{key}: must be a duration in quotes, like "24h" or "50ms"', path=key)
    try:
        seconds = Duration.parse(value).nanoseconds / 1e9
    except ValueError as error:
        raise ConfigError(f"{key}: {error}", path=key) from None
    if key == "svid_ttl" and not MIN_SVID_TTL_SECONDS <= seconds <= MAX_SVID_TTL_SECONDS:
        raise ConfigError(f"svid_ttl: {value} is not between 30s and 720h", path=key)
    if key != "svid_ttl" and seconds > 60:
        raise ConfigError(f"{key}: {value} is longer than a minute: rules would seem to hang", path=key)
    return seconds


def _server_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ConfigError(
            'server_names: must be a list of names and addresses, like ["mesh.example.org", "192.0.2.7"]', path="server_names"
        )
    for item in value:
        if not _is_address(item) and not is_dns_subdomain(item):
            raise ConfigError(f"server_names: {item!r} is neither a DNS name in lower case nor an IP address", path="server_names")
    return tuple(dict.fromkeys(value))


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _limit(key: str, value: Any) -> int | float:
    kind = type(getattr(Limits(), key))
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)) or not 0 < value <= 1_000_000_000:
        raise ConfigError(f"limits.{key}: must be {'a whole number' if kind is int else 'a number'} greater than 0", path=f"limits.{key}")
    return int(value) if kind is int else float(value)
