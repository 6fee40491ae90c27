# SPDX-License-Identifier: Apache-2.0
"""Ansible, as an operator at the controller uses it: whole playbooks, and single modules."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from examples.demo.progress import Watch

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
    """`access` are the environment variables by which the collection's modules find the rule API; `console` is told what a playbook does
    while it runs."""

    def __init__(self, home: Path, collections: Path, inventories: list[Path], console: Console) -> None:
        self.home = home
        self.console = console
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
        """Runs a playbook (a path, or the name of one in a collection). Its output is in a log, with the seconds since the start."""
        begun = time.monotonic()
        self._played += 1
        name = short_name(playbook)
        log = self.home / f"play-{self._played}-{name}.log"
        lines: list[str] = []
        with log.open("w") as file, self._start(subprocess.STDOUT, "ansible-playbook", playbook, *words) as running:
            deadline = threading.Timer(PLAY_SECONDS, running.kill)
            deadline.start()
            try:
                with Watch(self.console, name, log) as watch:
                    for line in running.stdout or ():
                        file.write(f"{time.monotonic() - begun:6.1f} {line}")
                        lines.append(line)
                        watch.line(line)
            except BaseException:
                running.terminate()  # whoever ends the demo doesn't wait for the play
                raise
            finally:
                deadline.cancel()
        output = "".join(lines)
        counts = {key: sum(map(int, re.findall(rf"\b{key}=(\d+)", output))) for key in ("changed", "failed", "unreachable")}
        return Recap(running.returncode, counts["changed"], counts["failed"] + counts["unreachable"], time.monotonic() - begun, output)

    def module(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """One module on the controller; its result, with `failed`."""
        with self._start(subprocess.PIPE, "ansible", "localhost", "-c", "local", "-m", name, "-a", json.dumps(arguments)) as running:
            said, complaint = running.communicate(timeout=PLAY_SECONDS)
        head, found, result = said.partition("=> ")
        if not found:
            raise RuntimeError(f"{name}: {said.strip()} {complaint.strip()}")
        return {"failed": "SUCCESS" not in head and "CHANGED" not in head} | dict(json.loads(result))

    def _start(self, stderr: int, command: str, *words: str) -> subprocess.Popen[str]:
        inventories = [word for path in self.inventories for word in ("-i", str(path))]
        env = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "MESHWRIGHT_"))}
        env |= {"ANSIBLE_CONFIG": str(self._config), "ANSIBLE_NOCOLOR": "1", "PATH": f"{BIN}:{env['PATH']}", **self.access}
        call = [str(BIN / command), *inventories, *words]
        return subprocess.Popen(call, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True)


def short_name(playbook: str) -> str:
    """'site' of 'meshwright.mesh.site' and of 'a/site.yml'."""
    return Path(playbook).name.removesuffix(".yml").rpartition(".")[2]


def _failures(output: str) -> str:
    """What is worth reading of a failed run: what the failed tasks said, or else the end."""
    lines = output.splitlines()
    wanted = [line[:2000] for line in lines if line.startswith(("fatal:", "failed:", "ERROR", "[ERROR]"))]
    return "\n".join(dict.fromkeys(wanted)) or "\n".join(lines[-40:])
