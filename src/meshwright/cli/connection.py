# SPDX-License-Identifier: Apache-2.0
"""Where the control plane is and how to speak with it: options, environment, file; always TLS, always verified."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from meshwright.cli.failure import Bad, Unusable

CONFIG_FILE = Path(".config/meshwright/config.json")
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
_KEYS = {"apiUrl", "tokenFile", "caFile"}
_WHERE = f"--api-url, MESHWRIGHT_API_URL, or apiUrl in ~/{CONFIG_FILE}"
_UNIT = "systemctl status meshwright-control-plane"


class Target(NamedTuple):
    """`ca_file` '': the system's CAs."""

    api_url: str
    token: str
    ca_file: str


class Options(NamedTuple):
    """What the command line says; '' where it says nothing."""

    api_url: str = ""
    token_file: str = ""
    ca_file: str = ""


def resolve(options: Options, environment: Mapping[str, str], home: Path) -> Target:
    """Options before environment before file. Raises Unusable that says what is missing and the three ways to say it."""
    path = home / CONFIG_FILE
    kept = _kept(path)
    url = options.api_url or environment.get("MESHWRIGHT_API_URL", "") or kept.get("apiUrl", "")
    if not url:
        raise Unusable(
            "no control plane named: use --api-url https://HOST:15080, MESHWRIGHT_API_URL, or "
            f'{{"apiUrl": ..., "tokenFile": ..., "caFile": ...}} in {path}'
        )
    if not url.startswith("https://"):
        raise Unusable(f"{url}: the control plane is reached over https:// only")
    token = "" if options.token_file else environment.get("MESHWRIGHT_TOKEN", "")
    token_file = options.token_file or environment.get("MESHWRIGHT_TOKEN_FILE", "") or kept.get("tokenFile", "")
    if not token and token_file:
        token = _read(token_file, "--token-file").strip()
    if not token:
        raise Unusable(f"no token: use --token-file FILE, MESHWRIGHT_TOKEN, MESHWRIGHT_TOKEN_FILE, or tokenFile in {path}")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise Unusable("the token has characters that no token has: is it the right file, and only the token in it?")
    ca_file = options.ca_file or environment.get("MESHWRIGHT_CA_FILE", "") or kept.get("caFile", "")
    return Target(url.rstrip("/"), token, ca_file)


def _kept(path: Path) -> dict[str, str]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise Unusable(f"{path}: can't be read: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()) or set(document) - _KEYS:
        raise Unusable(f"{path}: must be an object with texts for some of: {', '.join(sorted(_KEYS))}")
    return document


def _read(path: str, option: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"{path}: can't be read ({option}): {getattr(error, 'strerror', None) or error}") from error


class Answer(NamedTuple):
    """`revision` and `changed` are those of the headers; 0 and False without."""

    status: int
    body: Any
    revision: int = 0
    changed: bool = False

    @property
    def ok(self) -> bool:
        return self.status < 300

    @property
    def error(self) -> dict[str, Any]:
        found = self.body.get("error") if isinstance(self.body, dict) else None
        return found if isinstance(found, dict) else {"reason": f"Status{self.status}", "message": "no more is known", "violations": []}


class Client:
    """One connection. Use as a context manager."""

    def __init__(self, target: Target) -> None:
        self._target = target
        try:
            context = ssl.create_default_context(cafile=str(Path(target.ca_file).expanduser()) if target.ca_file else None)
        except (OSError, ssl.SSLError) as error:
            raise Unusable(f"{target.ca_file}: is no file of CA certificates in PEM (--ca-file): {error}") from error
        self._http = httpx2.Client(
            base_url=target.api_url,
            verify=context,
            trust_env=False,
            headers={"Authorization": f"Bearer {target.token}"},
            timeout=httpx2.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def ask(self, method: str, path: str, *, body: Any = None, params: Mapping[str, str] | None = None, wait: float = 0.0) -> Answer:
        """Any answer but 401, 403 and 429. `wait`: seconds that the server may take beside the usual. Raises Unusable."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        content = json.dumps(body).encode() if body is not None else None
        timeout = httpx2.Timeout(ANSWER_SECONDS + wait, connect=CONNECT_SECONDS)
        try:
            response = self._http.request(method, path, content=content, params=params, headers=headers, timeout=timeout)
        except httpx2.HTTPError as error:
            raise Unusable(_no_connection(self._target, error)) from error
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Unusable(f"{self._target.api_url}: is not a URL: {error}") from error
        return self._answer(response)

    def get(self, path: str, params: Mapping[str, str] | None = None, wait: float = 0.0) -> Any:
        """The body of a good answer. Raises Bad with the server's words."""
        return good(self.ask("GET", path, params=params, wait=wait)).body

    def _answer(self, response: httpx2.Response) -> Answer:
        try:
            body = response.json()
        except ValueError:
            if response.status_code == 503:
                raise Unusable(f"{self._target.api_url} is too busy to answer: try again") from None
            if response.status_code != 200:
                raise Unusable(f"{self._target.api_url} answered {response.status_code} without JSON: is it the control plane?") from None
            body = response.text
        revision = response.headers.get("Meshwright-Revision", "0")
        changed = response.headers.get("Meshwright-Changed") == "true"
        answer = Answer(response.status_code, body, int(revision) if revision.isdigit() else 0, changed)
        if answer.status == 401:
            raise Unusable(
                f"{self._target.api_url} doesn't take the token: it is wrong, expired or taken back; "
                "a security-admin makes one with: meshwright token create"
            )
        if answer.status in (403, 429, 503):
            raise Unusable(f"{answer.error['reason']}: {answer.error['message']}")
        return answer


def good(answer: Answer) -> Answer:
    """Raises Bad with the server's words for any answer that isn't good."""
    if answer.ok:
        return answer
    raise Bad("\n".join(violation_lines(answer.error)))


def violation_lines(error: Mapping[str, Any]) -> list[str]:
    """`path: Reason: message`, one a violation, or the error itself."""
    violations = error.get("violations") or [error]
    return [": ".join(part for part in (v.get("path", ""), v.get("reason", ""), v.get("message", "")) if part) for v in violations]


def _no_connection(target: Target, error: httpx2.HTTPError) -> str:
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _bad_certificate(target, cause)
        if isinstance(cause, ConnectionRefusedError):
            return f"{target.api_url}: nothing listens there: check host and port ({_WHERE}), and on it: {_UNIT}"
        if isinstance(cause, ssl.SSLError):
            return f"{target.api_url}: no TLS with it ({cause.reason}): is it the control plane's HTTPS port (15080)?"
    if isinstance(error, httpx2.ConnectTimeout):
        return f"{target.api_url}: no connection within {CONNECT_SECONDS:.0f} s: check the address ({_WHERE}) and the firewalls between"
    if isinstance(error, httpx2.TimeoutException):
        return f"{target.api_url}: no answer in time: see the control plane's log: journalctl -u meshwright-control-plane"
    return f"{target.api_url}: {error or type(error).__name__}"


def _bad_certificate(target: Target, error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
        return (
            f"{target.api_url}: its certificate is for other names ({error.verify_message}): "
            "use one of them, or add this one to server_names in control-plane.toml"
        )
    if error.verify_code in (9, 10):  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
        return f"{target.api_url}: {error.verify_message}: check the clocks of both machines"
    known = f"the CA in {target.ca_file}" if target.ca_file else "the system's CAs"
    return (
        f"{target.api_url}: its certificate is not signed by {known}: it is another mesh, or its CA is missing here; "
        "give the mesh's CA (ca/root.pem of the control plane's data directory) with --ca-file"
    )


def _causes(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and len(found) < 16:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found
