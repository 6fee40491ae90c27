# SPDX-License-Identifier: Apache-2.0
"""The command `meshwright`. The agent is dispatched before anything of the thin client is imported: it runs where only its own few
dependencies are installed, and stays small."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Ends the process: 0 good, 1 the thing checked is bad, 2 wrong use."""
    if len(sys.argv) > 1 and sys.argv[1] == "agent":
        sys.exit(importlib.import_module("meshwright.agent.main").main(sys.argv[2:]))
    from meshwright.cli.command import root

    root(prog_name="meshwright")


if __name__ == "__main__":
    main()
