# SPDX-License-Identifier: Apache-2.0
"""The ways not to get an answer: how long each is tried, and what is said then. Time passes only by waiting."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import PATIENCE_SECONDS, Access, ApiClient, ApiError

from meshwright.cli.connection import Options
from meshwright.cli.failure import Unusable
from meshwright.cli.session import Session
from tests.unit.plugins.api_fake import TOKEN, FakeApi
from tests.unit.plugins.module_run import run_module


class Waited:
    """A clock that goes on only where somebody pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Bound, so that nobody else gets it, but not listened on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def client(url: str, ca_path: Path, waited: Waited) -> ApiClient:
    return ApiClient(Access(url, TOKEN, str(ca_path), 30.0), waited.now, waited.pause)


def refusal(asking: ApiClient) -> str:
    with pytest.raises(ApiError) as caught:
        asking.get("/mesh/v1/proxies")
    assert (caught.value.status, caught.value.reason) == (0, "Unreachable")
    return caught.value.message


def test_nothing_listens_is_said_soon_and_as_the_command_says_it(tls: tuple[Path, Path], silent_port: int, tmp_path: Path) -> None:
    url, waited = f"https://127.0.0.1:{silent_port}", Waited()
    said = refusal(client(url, tls[0], waited))
    assert 0 < waited.seconds <= PATIENCE_SECONDS
    token = tmp_path / "token"
    token.write_text(TOKEN)
    with pytest.raises(Unusable) as told, Session(Options(url, str(token), str(tls[0])), "json").client() as command:
        command.get("/mesh/v1/proxies")
    head, _, way_out = told.value.message.partition(": check host and port (--api-url, ")
    assert way_out.endswith("systemctl status meshwright-control-plane")
    assert said == f"{url} (tried for 2 s){head.removeprefix(url)}: check host and port (api_url, {way_out}"


def test_one_that_answered_before_is_waited_for(api: FakeApi) -> None:
    waited = Waited()
    asking = client(api.url, api.ca_path, waited)
    asking.get("/mesh/v1/proxies")
    asking.close()
    api.stop()
    assert "nothing listens there" in refusal(asking)
    assert PATIENCE_SECONDS < waited.seconds <= 30


def test_a_name_that_is_none(tls: tuple[Path, Path]) -> None:
    waited = Waited()
    assert "https://nowhere.invalid:15080 (tried for 2 s): its name leads to no address" in refusal(
        client("https://nowhere.invalid:15080", tls[0], waited)
    )
    assert waited.seconds <= PATIENCE_SECONDS


def test_a_module_ends_with_these_words(tls: tuple[Path, Path], silent_port: int) -> None:
    options = {"api_url": f"https://127.0.0.1:{silent_port}", "api_token": TOKEN, "ca_path": str(tls[0]), "api_timeout": 1}
    failed = run_module("proxy_info", options)
    assert failed["failed"] and failed["reason"] == "Unreachable" and "systemctl status meshwright-control-plane" in failed["msg"]
