# SPDX-License-Identifier: Apache-2.0
"""The collection under the import path that it has when it is installed."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.unit.plugins.api_fake import FakeApi, certificate

ROOT = Path(__file__).resolve().parents[3]


def _namespace(name: str, path: Path) -> None:
    """A package without code whose parts are found under `path`."""
    module = ModuleType(name)
    module.__path__ = [str(path)]
    sys.modules.setdefault(name, module)


for _name, _path in (
    ("ansible_collections", ROOT),
    ("ansible_collections.meshwright", ROOT),
    ("ansible_collections.meshwright.mesh", ROOT),
    ("ansible_collections.meshwright.mesh.plugins", ROOT / "plugins"),
):
    _namespace(_name, _path)


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def api(tls: tuple[Path, Path]) -> Iterator[FakeApi]:
    with FakeApi(*tls) as fake:
        yield fake


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For ANSIBLE_COLLECTIONS_PATH: the collection as it is in this checkout, without roles and playbooks."""
    home = tmp_path_factory.mktemp("collections")
    (home / "ansible_collections" / "meshwright").mkdir(parents=True)
    place = home / "ansible_collections" / "meshwright" / "mesh"
    place.mkdir()
    for part in ("plugins", "meta", "galaxy.yml"):
        (place / part).symlink_to(ROOT / part)
    return home


@pytest.fixture(scope="session")
def names() -> ModuleType:
    """The program meshwright-names as a module."""
    path = ROOT / "roles" / "sidecar" / "files" / "meshwright-names"
    loader = importlib.machinery.SourceFileLoader("meshwright_names", str(path))
    spec = importlib.util.spec_from_loader("meshwright_names", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["meshwright_names"] = module
    loader.exec_module(module)
    return module
