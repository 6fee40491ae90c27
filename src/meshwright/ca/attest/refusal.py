# SPDX-License-Identifier: Apache-2.0
"""How attestation says no: the caller learns nothing, the audit learns why."""

from __future__ import annotations

from meshwright.errors import Unauthenticated


class Refused(Unauthenticated):
    """`why` is one CamelCase word for the audit; the message is the same for all."""

    def __init__(self, why: str) -> None:
        super().__init__("attestation refused")
        self.why = why
