# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SSH host keys: what a host shows, what the controller already knows of it, and whether the two agree."""

from __future__ import annotations

import base64
import binascii
import hashlib
import typing as t

# The order of preference for signing: small and fast first.
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


# Named as users of the role and of the module know it, with the way to find what belongs into it.
TELL_FINGERPRINT = (
    "run `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host's console and give the SHA256:... that it shows as "
    "meshwright_expected_fingerprint (roles and playbooks) or expected_fingerprint (module node)"
)


class HostKeyError(Exception):
    """Why a host's keys are not to be believed, with the way out."""


class HostKey(t.NamedTuple):
    """`blob` is the key in base64, as the file has it; `path` is where the host keeps the public key ('' when it is not known)."""

    type: str
    blob: str
    path: str = ""

    @property
    def line(self) -> str:
        return "%s %s" % (self.type, self.blob)

    @property
    def fingerprint(self) -> str:
        """`SHA256:...`, as ssh-keygen -l shows it."""
        digest = hashlib.sha256(base64.b64decode(self.blob)).digest()
        return "SHA256:" + base64.b64encode(digest).decode("ascii").rstrip("=")


class Known(t.NamedTuple):
    """What known_hosts files say of one host."""

    keys: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]
    authorities: int


def parse_public_keys(text: str) -> list[HostKey]:
    """Of lines `PATH TYPE BASE64 [COMMENT]`; unknown types and broken lines are left out; best type first."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 3 and words[1] in KEY_TYPES and _is_key(words[1], words[2]):
            found.append(HostKey(words[1], words[2], words[0]))
    return sorted(found, key=lambda key: KEY_TYPES.index(key.type))


def parse_known(text: str) -> Known:
    """Of what `ssh-keygen -F` prints: known_hosts lines (names plain or hashed) and comments."""
    keys, revoked, authorities = [], [], 0
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        marker = words.pop(0) if words[0].startswith("@") else ""
        if len(words) < 3 or not _is_key(words[1], words[2]):
            continue
        key = HostKey(words[1], words[2])
        if marker == "@revoked":
            revoked.append(key)
        elif marker == "@cert-authority":
            authorities += 1
        elif not marker:
            keys.append(key)
    return Known(tuple(keys), tuple(revoked), authorities)


def _is_key(key_type: str, blob: str) -> bool:
    """The blob is base64 and says the same type inside."""
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        return False
    length = int.from_bytes(raw[:4], "big")
    return raw[4 : 4 + length] == key_type.encode("ascii", "replace")


def verify_by_known_hosts(shown: t.Sequence[HostKey], known: Known, name: str, files: t.Sequence[str]) -> list[HostKey]:
    """The keys that the host shows and that known_hosts has for it. Raises HostKeyError: nothing shown, a revoked key, another key of
    the same type, or nothing in common."""
    _refuse_nothing(shown, name)
    revoked = {key.blob for key in known.revoked}
    for key in shown:
        if key.blob in revoked:
            raise HostKeyError("host key %s of %s is marked @revoked in known_hosts: give the host a new key" % (key.fingerprint, name))
    by_type: dict[str, set[str]] = {}
    for key in known.keys:
        by_type.setdefault(key.type, set()).add(key.blob)
    verified = []
    for key in shown:
        expected = by_type.get(key.type)
        if expected is None:
            continue
        if key.blob not in expected:
            raise HostKeyError(
                "%s shows the host key %s (%s), but known_hosts has another one for it. If the host was installed anew, remove the old key "
                "with `ssh-keygen -R '%s'`, verify the new fingerprint on the host's console and connect once; otherwise somebody "
                "may be in between" % (name, key.fingerprint, key.type, name)
            )
        verified.append(key)
    if not verified:
        raise HostKeyError(_unknown(shown, known, name, files))
    return verified


def verify_by_fingerprint(shown: t.Sequence[HostKey], expected: t.Sequence[str], name: str) -> list[HostKey]:
    """The keys that the host shows and whose SHA256 fingerprint was told. Raises HostKeyError."""
    _refuse_nothing(shown, name)
    wanted = {text if text.startswith("SHA256:") else "SHA256:" + text for text in (one.strip().rstrip("=") for one in expected)}
    verified = [key for key in shown if key.fingerprint in wanted]
    if not verified:
        raise HostKeyError(
            "%s shows the host keys %s; none of them is meshwright_expected_fingerprint (expected_fingerprint of the module node): "
            "%s. Compare with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` shows on the host's console"
            % (name, _list(shown), ", ".join(sorted(wanted)))
        )
    return verified


def _refuse_nothing(shown: t.Sequence[HostKey], name: str) -> None:
    if not shown:
        raise HostKeyError("%s has no readable /etc/ssh/ssh_host_*_key.pub: make host keys with `ssh-keygen -A` on it" % name)


def _unknown(shown: t.Sequence[HostKey], known: Known, name: str, files: t.Sequence[str]) -> str:
    why = (
        "it is verified by a certificate authority there, which says nothing of the key itself" if known.authorities else "it is not there"
    )
    return (
        "the host keys of %s (%s) can't be verified: known_hosts (%s) does not have one of them: %s. Either connect once with ssh, so "
        "that known_hosts has it, or %s" % (name, _list(shown), ", ".join(files) or "no file", why, TELL_FINGERPRINT)
    )


def _list(keys: t.Sequence[HostKey]) -> str:
    return ", ".join("%s (%s)" % (key.fingerprint, key.type) for key in keys)
