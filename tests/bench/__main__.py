# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.bench --services S --endpoints E --proxies N [--scoped] [--tls] [--server bare|full] [--json]`, or
`python -m tests.bench --renewals N --proxies P [--json]`, or `python -m tests.bench all`.

Starts the server and the fake proxies in processes of their own, connects all at once, changes one endpoint, then one route, a few times.
Times are from the change (or the start) to the last ACK; CPU is the server's alone; memory is its peak. `--renewals`: P proxies connect by
mutual TLS, then N certificates are renewed over their connections."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.certificates import sans_of, write_certificates
from tests.bench.serve import arguments

SHAPES = (
    "--services 100 --endpoints 2 --proxies 100 --server bare",
    "--services 100 --endpoints 2 --proxies 100 --server full",
    "--services 100 --endpoints 2 --proxies 100 --server full --scoped",
    "--services 1000 --endpoints 2 --proxies 1000 --server bare",
    "--services 1000 --endpoints 2 --proxies 1000 --server full",
    "--services 1000 --endpoints 2 --proxies 1000 --server full --tls",
    "--services 1000 --endpoints 2 --proxies 1000 --server bare --scoped",
    "--services 1000 --endpoints 2 --proxies 1000 --server full --scoped",
    "--services 500 --endpoints 5 --proxies 500 --server full",
    "--services 1000 --endpoints 2 --proxies 1000 --server full --scoped --tls",
    "--services 1000 --endpoints 2 --proxies 2000 --server full --scoped",
    "--services 1000 --endpoints 2 --proxies 2000 --server full --scoped --tls",
    "--services 1000 --endpoints 3 --proxies 100 --server full",
    "--services 10000 --endpoints 3 --proxies 100 --server full",
    "--renewals 8000 --proxies 1000",
)


class Process:
    """A child that answers JSON lines with JSON lines."""

    def __init__(self, module: str, *options: str) -> None:
        command = [sys.executable, "-m", module, *options]
        env = os.environ | {"MALLOC_ARENA_MAX": "1"}  # as the control plane's unit has it
        self._child = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.hello = self.read()

    def read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise SystemExit(f"a process of the benchmark ended: {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def send(self, **command: Any) -> None:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command) + "\n")

    def ask(self, **command: Any) -> dict[str, Any]:
        self.send(**command)
        return self.read()

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()


def measure(args: Any, certs: str | None) -> dict[str, Any]:
    secure = ["--certs", certs] if certs else []
    shape = [f"--{n}={getattr(args, n)}" for n in ("services", "endpoints", "proxies", "server")] + ["--scoped"] * args.scoped
    tuning = [f"--accept-rate={args.accept_rate}", f"--first-at-once={args.first_at_once}"]
    server = Process("tests.bench.serve", *shape, *tuning, *secure)
    each = args.proxies // args.clients
    herd = [
        Process(
            "tests.bench.proxies", f"--port={server.hello['port']}", f"--proxies={each}", f"--first={i * each}", *_scopes(args), *secure
        )
        for i in range(args.clients)
    ]
    try:
        return _run(args, server, herd, each * args.clients)
    finally:
        for process in (*herd, server):
            process.close()


def _scopes(args: Any) -> list[str]:
    return [f"--scopes={args.services // 10 if args.scoped else 1}"]


def _run(args: Any, server: Process, herd: list[Process], proxies: int) -> dict[str, Any]:
    before = server.ask(do="stats")
    began = time.monotonic()
    for client in herd:
        client.send(do="go")
    for client in herd:
        client.read()
    ready = server.ask(do="await", proxies=proxies)["at"] - began
    cold = server.ask(do="stats")
    load = [client.ask(do="stats") for client in herd]
    report = {
        "server": args.server,
        "shape": f"{args.services}/{args.endpoints}/{proxies}" + " scoped" * args.scoped + " tls" * args.tls,
        "cold_s": round(ready, 3),
        "cold_cpu_s": round(cold["cpu"] - before["cpu"], 3),
        "load_cpu_s": round(sum(c["cpu"] for c in load), 2),
        "kb_per_proxy": round(cold["response_bytes"] / proxies / 1000, 1),
        "idle_mb": before["rss_mb"],
        "ready_mb": cold["rss_mb"],
    }
    for what in ("endpoint", "route"):
        server.ask(do="change", what=what)
        report[what] = _summary([server.ask(do="change", what=what) for _ in range(args.repeats)])
    after = server.ask(do="stats")
    lost = [why for client in herd for why in client.ask(do="stats")["lost"]]
    report |= {"peak_mb": after["peak_mb"], "streams": after["streams"], "lost": lost[:5]}
    return report


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    times = sorted(r["seconds"] * 1000 for r in runs)
    return {
        "concerned": runs[0]["concerned"],
        "p50_ms": round(statistics.median(times), 2),
        "p99_ms": round(times[min(len(times) - 1, int(len(times) * 0.99))], 2),
        "max_ms": round(times[-1], 2),
        "cpu_s": round(statistics.median(r["cpu"] for r in runs), 4),
    }


def renewals(args: Any) -> dict[str, Any]:
    """Each proxy renews at most ten times: more the control plane doesn't allow it at once."""
    with tempfile.TemporaryDirectory() as certs:
        nodes = [f"app-{i}.ns-000" for i in range(args.proxies)]
        write_certificates(Path(certs), [], odd={node: sans_of(node, host=f"vm-{i}") for i, node in enumerate(nodes)})
        options = (f"--proxies={args.proxies}", f"--certs={certs}")
        server = Process("tests.bench.issuing", *options)
        client = Process("tests.bench.renewing", f"--port={server.hello['port']}", *options)
        try:
            return _renewals(args, server, client)
        finally:
            client.close()
            server.close()


def _renewals(args: Any, server: Process, client: Process) -> dict[str, Any]:
    idle = server.ask(do="stats")
    connected = client.ask(do="connect")
    before = server.ask(do="stats")
    times = max(1, args.renewals // args.proxies)
    renewed = client.ask(do="renew", times=times)
    after = server.ask(do="stats")
    cpu = after["cpu"] - before["cpu"]
    return {
        "shape": f"{times * args.proxies} renewals, {args.proxies} connections",
        "connect_s": round(connected["seconds"], 3),
        "connect_cpu_s": round(before["cpu"] - idle["cpu"], 3),
        "renewals_per_cpu_s": round(times * args.proxies / cpu),
        "renewals_per_s": round(times * args.proxies / renewed["seconds"]),
        "peak_mb": after["peak_mb"],
        "failed": renewed["failed"],
    }


def figures(words: list[str]) -> dict[str, Any]:
    """One measurement, with the options of the command line."""
    if "--renewals" in words:
        return renewals(_renewal_options().parse_args(words))
    args = _options().parse_args(words)
    with tempfile.TemporaryDirectory() as scratch:
        if args.tls:
            scopes = args.services // 10 if args.scoped else 1
            nodes = [f"app-{i}.ns-{i % scopes:03d}" for i in range(args.proxies)]
            write_certificates(Path(scratch), [], odd={node: sans_of(node, host=f"vm-{i}") for i, node in enumerate(nodes)})
        return measure(args, scratch if args.tls else None)


def _options() -> argparse.ArgumentParser:
    parser = arguments()
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--clients", type=int, default=1)
    return parser


def _renewal_options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--renewals", type=int, required=True)
    parser.add_argument("--proxies", type=int, required=True)
    parser.add_argument("--json", action="store_true")
    return parser


def main() -> None:
    words = sys.argv[1:]
    runs = [[*shape.split(), *words[1:]] for shape in SHAPES] if words[:1] == ["all"] else [words]
    for run in runs:
        report = figures(run)
        if "--json" in run:
            print(json.dumps(report), flush=True)
            continue
        for key, value in report.items():
            print(f"{key:14} {value}")
        print(flush=True)


if __name__ == "__main__":
    main()
