# SPDX-License-Identifier: Apache-2.0
"""Every way not to get through, and the way out that the message tells."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshwright.api.policy import Role
from meshwright.cli.connection import Options, resolve
from meshwright.cli.failure import Unusable
from tests.feature.api.harness import Mesh, TestCa
from tests.unit.cli.conftest import Run


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Bound, so that nobody else gets it, but not listened on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def fails(run: Run, says: str, *args: str, **environment: str) -> None:
    found = run(*(args or ("proxies",)), **environment)
    assert found.exit_code == 2, found.output
    assert says in found.stderr, found.stderr
    assert "Traceback" not in found.output


def test_nothing_said(offline: Run) -> None:
    fails(offline, "no control plane named: use --api-url")
    fails(offline, "no token: use --token-file", "proxies", "--api-url", "https://localhost:1")
    fails(offline, "over https:// only", "proxies", "--api-url", "http://localhost:1")
    fails(offline, "/none: can't be read", "proxies", "--api-url", "https://localhost:1", "--token-file", "/none")


def test_connection_refused(run: Run, silent_port: int) -> None:
    fails(run, "nothing listens there", MESHWRIGHT_API_URL=f"https://127.0.0.1:{silent_port}")


def test_a_name_that_is_none(run: Run) -> None:
    fails(run, "https://nowhere.invalid:15080: ", MESHWRIGHT_API_URL="https://nowhere.invalid:15080")


def test_the_ca_of_another_mesh(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(TestCa("other").pem)
    fails(run, "it is another mesh, or its CA is missing here", MESHWRIGHT_CA_FILE=str(other))
    fails(run, "is not signed by the system's CAs", MESHWRIGHT_CA_FILE="")
    other.write_text("no certificate")
    fails(run, "is no file of CA certificates", MESHWRIGHT_CA_FILE=str(other))


def test_a_certificate_for_other_names(mesh: Mesh, run: Run) -> None:
    mesh.tls.load(*mesh.ca.issue(("elsewhere.example.org",)))
    fails(run, "its certificate is for other names")


def test_a_port_that_speaks_no_tls(run: Run) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        helper = (
            "import socket, sys\n"
            "caller, _ = socket.socket(fileno=int(sys.argv[1])).accept()\n"
            "caller.recv(9)\n"
            "caller.sendall(b'SSH-2.0-x\\r\\n' * 9)\n"
            "caller.close()"
        )
        with subprocess.Popen([sys.executable, "-c", helper, str(sock.fileno())], pass_fds=[sock.fileno()]) as child:
            fails(run, "is it the control plane's HTTPS port (15080)?", MESHWRIGHT_API_URL=f"https://127.0.0.1:{sock.getsockname()[1]}")
            child.wait(20)


def test_wrong_token_and_missing_role(run: Run) -> None:
    fails(run, "doesn't take the token", MESHWRIGHT_TOKEN="mwa_" + "x" * 43)
    fails(run, "GET /mesh/v1/tokens needs the role security-admin", "token", "list")


def test_an_ill_formed_token_is_not_sent(run: Run) -> None:
    fails(run, "the token has characters that no token has", MESHWRIGHT_TOKEN="secret\nb")
    assert "secret" not in run("proxies", MESHWRIGHT_TOKEN="secret\nb").output


def test_from_where_it_knows(mesh: Mesh, offline: Run, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(mesh.token(Role.READER) + "\n")
    config = tmp_path / ".config/meshwright/config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"apiUrl": mesh.url, "tokenFile": str(token_file), "caFile": mesh.ca_file}))
    assert offline("proxies").exit_code == 0
    assert offline("proxies", "--api-url", mesh.url + "/").exit_code == 0
    assert offline("proxies", MESHWRIGHT_TOKEN="mwa_" + "x" * 43).exit_code == 2
    config.write_text('{"apiURL": "https://x"}')
    fails(offline, "must be an object with texts for some of: apiUrl, caFile, tokenFile")


def test_options_before_environment_before_file(tmp_path: Path) -> None:
    environment = {"MESHWRIGHT_API_URL": "https://env", "MESHWRIGHT_TOKEN": "from-env", "MESHWRIGHT_CA_FILE": "env.pem"}
    (tmp_path / "t").write_text("from-file")
    assert resolve(Options(), environment, tmp_path) == ("https://env", "from-env", "env.pem")
    options = Options("https://option", str(tmp_path / "t"), "option.pem")
    assert resolve(options, environment, tmp_path) == ("https://option", "from-file", "option.pem")
    with pytest.raises(Unusable):
        resolve(Options(), {}, tmp_path)


def test_the_agent_is_started_without_the_thin_client() -> None:
    """Where only the agent's few dependencies are installed, `meshwright agent` must not need click."""
    code = (
        "import sys; sys.argv = ['meshwright', 'agent', '--help']\n"
        "from meshwright.cli.main import main\n"
        "try:\n    main()\nexcept (SystemExit, ModuleNotFoundError):\n    pass\n"
        "print(sorted({'click', 'rich', 'httpx2', 'msgspec', 'google.protobuf'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == "[]", found.stderr
