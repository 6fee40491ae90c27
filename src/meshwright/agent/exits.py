# SPDX-License-Identifier: Apache-2.0
"""Exit statuses of the agent's commands (those of sysexits.h where one fits)."""

from __future__ import annotations

OK = 0
FAILED = 1
BAD_ANSWER = 65
AWAY = 69  # the control plane can't be reached or is not ready: try again
ATTEST_ANEW = 75  # `run` only: systemd is to start the unit anew, attestation first
REFUSED = 77  # the control plane says no
CONFIG = 78
