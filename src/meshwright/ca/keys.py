# SPDX-License-Identifier: Apache-2.0
"""Where the CA's private keys live. On disk for now; a KMS or PKCS#11 module is another implementation of KeyManager."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshwright.errors import ConfigError, Conflict

PrivateKey = ec.EllipticCurvePrivateKey


class KeyManager(Protocol):
    """Keys by name (`root` is the active root's). A key, once stored, is never replaced."""

    def load(self, name: str) -> PrivateKey | None:
        """None when there is no such key; ConfigError when it can't be read or is open to others."""
        ...

    def store(self, name: str, key: PrivateKey) -> None:
        """Durable when it returns. Conflict when there is a key of that name."""
        ...


def new_key() -> PrivateKey:
    """A fresh P-256 key, not stored anywhere."""
    return ec.generate_private_key(ec.SECP256R1())


def private_directory(path: Path) -> None:
    """Makes `path` with mode 0700, or takes what is there to it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)


def sync_directory(path: Path) -> None:
    """Makes renames, links and unlinks in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def scratch_of(path: Path) -> Path:
    """Where `write_private` prepares `path`; a crash can leave it behind."""
    return path.with_name(path.name + ".tmp")


def write_private(path: Path, content: bytes) -> None:
    """Durable file of mode 0600, whole or not at all. Raises FileExistsError rather than replace anything."""
    scratch = scratch_of(path)
    scratch.unlink(missing_ok=True)  # left by a crash
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(scratch, path)  # unlike rename, it refuses to replace
    finally:
        scratch.unlink(missing_ok=True)
    sync_directory(path.parent)


class DiskKeys:
    """One file `NAME.key` a key: PKCS#8 PEM, 0600, in a directory of mode 0700."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def load(self, name: str) -> PrivateKey | None:
        path = self.path(name)
        scratch_of(path).unlink(missing_ok=True)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                content = file.read(64 * 1024)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigError(f"{path} can't be read: {error.strerror}", path=str(path)) from error
        if mode & 0o077:
            raise ConfigError(f"{path} is open to other users: chmod 600 it, and think about who may have read it", path=str(path))
        try:
            key = serialization.load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{path} holds no private key in PEM: restore it from the backup", path=str(path)) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{path} holds no elliptic-curve key", path=str(path))
        return key

    def store(self, name: str, key: PrivateKey) -> None:
        private_directory(self.directory)
        content = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        try:
            write_private(self.path(name), content)
        except FileExistsError as error:
            raise Conflict(f"{self.path(name)} is there already and is never overwritten") from error
