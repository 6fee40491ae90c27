# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.golden.rewrite`: writes what the cases give now and deletes what none gives any more. Look at the diff."""

from __future__ import annotations

import sys

from tests.golden.case import CASES, case_names, expected_files


def rewrite() -> list[str]:
    """What was done, one line a file."""
    done = []
    wanted = {path: text for case in case_names() for path, text in expected_files(case).items()}
    for path in sorted(CASES.glob("*/out/*")):
        if path not in wanted:
            path.unlink()
            done.append(f"deleted {path.relative_to(CASES)}")
    for path, text in sorted(wanted.items()):
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            done.append(f"written {path.relative_to(CASES)}")
    return done


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in rewrite()))
