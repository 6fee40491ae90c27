# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from meshwright.api.policy import Role
from tests.feature.api.harness import Mesh, running


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    with running(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """For the tests of a file that leave nothing behind."""
    with running(tmp_path_factory.mktemp("api")) as made:
        yield made


@pytest.fixture
def shared_admin(shared: Mesh) -> Iterator[httpx2.Client]:
    with shared.as_role(Role.MESH_ADMIN) as client:
        yield client


@pytest.fixture
def admin(mesh: Mesh) -> Iterator[httpx2.Client]:
    with mesh.as_role(Role.MESH_ADMIN) as client:
        yield client


@pytest.fixture
def security(mesh: Mesh) -> Iterator[httpx2.Client]:
    with mesh.as_role(Role.SECURITY_ADMIN) as client:
        yield client
