# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from meshwright.api.policy import Role
from meshwright.cli.command import root
from tests.feature.api.harness import Mesh, running

Run = Callable[..., Result]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    (tmp_path / "api").mkdir()
    with running(tmp_path / "api") as made:
        yield made


@pytest.fixture
def run(mesh: Mesh, tmp_path: Path) -> Run:
    """The command as an administrator who is told where the mesh is by the environment; `role` gives another token."""
    tokens = {role: mesh.token(role) for role in (Role.MESH_ADMIN, Role.SECURITY_ADMIN, Role.READER)}

    def invoke(*args: str, role: Role = Role.MESH_ADMIN, stdin: str | None = None, **environment: str) -> Result:
        access = {"MESHWRIGHT_API_URL": mesh.url, "MESHWRIGHT_TOKEN": tokens[role], "MESHWRIGHT_CA_FILE": mesh.ca_file}
        return CliRunner(env={**access, "HOME": str(tmp_path), **environment}).invoke(root, list(args), input=stdin)

    return invoke


@pytest.fixture
def offline(tmp_path: Path) -> Run:
    """The command without any mesh."""
    unset = ("MESHWRIGHT_API_URL", "MESHWRIGHT_TOKEN", "MESHWRIGHT_TOKEN_FILE", "MESHWRIGHT_CA_FILE")

    def invoke(*args: str, stdin: str | None = None, **environment: str) -> Result:
        known: dict[str, str | None] = {**dict.fromkeys(unset), "HOME": str(tmp_path), **environment}
        return CliRunner(env=known).invoke(root, list(args), input=stdin)

    return invoke
