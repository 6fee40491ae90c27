# SPDX-License-Identifier: Apache-2.0
"""The socket that the API listens on."""

from __future__ import annotations

import socket

import pytest

from meshwright.api.server import listen
from meshwright.errors import ConfigError


def test_small_answers_are_not_held_back() -> None:
    """asyncio sets TCP_NODELAY on accepted connections only where the listening socket says that it is TCP."""
    with listen("127.0.0.1", 0) as made:
        assert made.proto == socket.IPPROTO_TCP


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as made, pytest.raises(ConfigError, match=f"127.0.0.1:{made.getsockname()[1]}"):
        listen("127.0.0.1", made.getsockname()[1])
