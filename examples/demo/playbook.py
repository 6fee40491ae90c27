# SPDX-License-Identifier: Apache-2.0
"""Ansible, as an operator at the controller uses it: whole playbooks, and single modules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PLAY_SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Recap:
    """`changed` and `failed` (with unreachable ones) are sums over hosts."""

    status: int
    changed: int
    failed: int
    seconds: float
    output: str

    def raise_for_failure(self) -> None:
        if self.status != 0:
            raise RuntimeError(f"ansible-playbook gave {self.status}:\n{_failures(self.output)}")


class Ansible:
    """`access` are the environment variables by which the collection's modules find the rule API."""

    def __init__(self, home: Path, collections: Path, inventories: list[Path]) -> None:
        self.home = home
        self.inventories = inventories
        self.access: dict[str, str] = {}
        self._played = 0
        home.mkdir(parents=True, exist_ok=True)
        config = home / "ansible.cfg"
        config.write_text(
            "[defaults]\n"
            f"collections_path = {collections}\n"
            f"home = {home}/ansible\n"
            "host_key_checking = true\n"
            "forks = 10\n"
            "retry_files_enabled = false\n"
            "[ssh_connection]\n"
            "pipelining = true\n"
        )
        self._config = config

    def play(self, playbook: str, *words: str) -> Recap:
        """Runs a playbook (a path, or the name of one in a collection) and keeps its output in a log."""
        begun = time.monotonic()
        done = self._run("ansible-playbook", playbook, *words)
        output = done.stdout + done.stderr
        self._played += 1
        (self.home / f"play-{self._played}-{Path(playbook).name}.log").write_text(output)
        counts = {key: sum(map(int, re.findall(rf"\b{key}=(\d+)", output))) for key in ("changed", "failed", "unreachable")}
        return Recap(done.returncode, counts["changed"], counts["failed"] + counts["unreachable"], time.monotonic() - begun, output)

    def module(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One module on the controller; its result, with `failed` where it failed."""
        done = self._run("ansible", "localhost", "-c", "local", "-m", name, "-a", json.dumps(arguments))
        head, found, result = done.stdout.partition("=> ")
        if not found:
            raise RuntimeError(f"{name}: {done.stdout.strip()} {done.stderr.strip()}")
        return {"failed": "SUCCESS" not in head and "CHANGED" not in head} | dict(json.loads(result))

    def _run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        inventories = [word for path in self.inventories for word in ("-i", str(path))]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MESHWRIGHT_"))}
        env |= {"ANSIBLE_CONFIG": str(self._config), "ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}:{env['PATH']}", **self.access}
        return subprocess.run(
            [str(BIN / command), *inventories, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PLAY_SECONDS,
            check=False,
        )


def _failures(output: str) -> str:
    """What is worth reading of a failed run: what the failed tasks said, or else the end."""
    lines = output.splitlines()
    wanted = [line[:2000] for line in lines if line.startswith(("fatal:", "failed:", "ERROR", "[ERROR]"))]
    return "\n".join(dict.fromkeys(wanted)) or "\n".join(lines[-40:])
