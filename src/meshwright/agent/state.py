# SPDX-License-Identifier: Apache-2.0
"""The agent's identity on disk. Key, certificate and bundle are one unit: each issue is a new directory `generations/N`, and the link
`current` moves to it in one rename, so that no crash leaves a key and a certificate that don't match. `svid.key`, `svid.pem` and
`bundle.pem` are links through `current` for whoever wants to look."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from meshwright.agent.certificate import Life, life
from meshwright.errors import ConfigError

KEEP = 2
_FILES = ("svid.key", "svid.pem", "bundle.pem")
_MODES = {"svid.key": 0o600, "svid.pem": 0o644, "bundle.pem": 0o644}


class Identity(NamedTuple):
    """All PEM. Its repr shows no key."""

    key: bytes
    chain: bytes
    bundle: bytes
    life: Life

    def __repr__(self) -> str:
        return f"Identity({self.life!r})"


def load(state_dir: Path) -> Identity | None:
    """None when there is none yet. Raises ConfigError when what is there can't be used."""
    for _ in range(3):
        try:
            generation = state_dir / (state_dir / "current").readlink()  # resolved once: the three belong together
            key, chain, bundle = (generation.joinpath(name).read_bytes() for name in _FILES)
            return Identity(key, chain, bundle, life(chain))
        except FileNotFoundError:
            continue  # none, or a renewal has just removed the generation that was being read
        except PermissionError as error:
            raise ConfigError(f"{error.filename} can't be read by this user") from error
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"the identity in {state_dir} can't be used ({error}): remove {state_dir}/current to have it attested anew"
            ) from error
    return None


def save(state_dir: Path, key: bytes, chain: bytes, bundle: bytes) -> Identity:
    """Durable and visible as a whole when it returns. Raises ConfigError for a certificate that is none, OSError."""
    try:
        identity = Identity(key, chain, bundle, life(chain))
    except ValueError as error:
        raise ConfigError(f"what the control plane sent is no certificate: {error}") from error
    for leftover in state_dir.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)  # of a crash
    generations = state_dir / "generations"
    generations.mkdir(mode=0o700, exist_ok=True)
    name = f"{_newest(generations) + 1}"
    directory = generations / name
    directory.mkdir(mode=0o700)
    try:
        for file, content in zip(_FILES, (key, chain, bundle), strict=True):
            _write(directory / file, content, _MODES[file])
    except OSError:
        _remove(directory)  # a full disk must not fill with halves
        raise
    _sync(directory)
    _sync(generations)
    _link(state_dir, "current", f"generations/{name}")
    for file in _FILES:
        _link(state_dir, file, f"current/{file}")
    _sync(state_dir)
    _prune(generations, keep=int(name))
    return identity


def refused(state_dir: Path) -> Path:
    """The mark that says: this identity is not renewed any more, attest anew whatever is left of its life."""
    return state_dir / "refused"


def mark_refused(state_dir: Path) -> None:
    refused(state_dir).touch(mode=0o600)


def clear_refused(state_dir: Path) -> None:
    refused(state_dir).unlink(missing_ok=True)


@contextlib.contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """Root acts as the owner of `directory` in here: what root writes into a directory that somebody else controls could be led elsewhere
    by links. Raises ConfigError when the directory is missing."""
    try:
        owner = directory.stat()
    except FileNotFoundError as error:
        raise ConfigError(f"{directory} is not there: it is made with the workload's unit (StateDirectory) or by the role") from error
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


def write_atomic(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file as a whole; durable."""
    scratch = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        _write(scratch, content, mode)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    _sync(path.parent)


def _newest(generations: Path) -> int:
    return max((int(entry.name) for entry in generations.iterdir() if entry.name.isdigit()), default=0)


def _write(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # whatever the umask
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _link(directory: Path, name: str, target: str) -> None:
    path = directory / name
    if path.is_symlink() and path.readlink() == Path(target):
        return
    scratch = directory / f".{name}.{os.urandom(4).hex()}.tmp"
    scratch.symlink_to(target)
    scratch.replace(path)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prune(generations: Path, keep: int) -> None:
    for entry in generations.iterdir():
        if entry.name.isdigit() and int(entry.name) <= keep - KEEP:
            _remove(entry)


def _remove(generation: Path) -> None:
    for file in generation.iterdir():
        file.unlink()
    generation.rmdir()
