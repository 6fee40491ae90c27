# SPDX-License-Identifier: Apache-2.0
"""The load on certificates: N proxies in one process, each with a connection of its own (mutual TLS) on which it renews.

JSON lines in and out: `{"do": "connect"}` -> {"seconds"} until all connections stand; `{"do": "renew", "times": K}` -> {"seconds",
"failed"} for K renewals of each proxy, WINDOW of them at a time."""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshwright.app import RENEW_METHOD
from tests.bench.orders import orders

WINDOW = 64


def renewal() -> bytes:
    """A body of Renew; one key for all, which costs the server the same."""
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return json.dumps({"csr": csr.public_bytes(serialization.Encoding.PEM).decode()}).encode()


class Herd:
    def __init__(self, args: argparse.Namespace) -> None:
        certs = Path(args.certs)
        root, key = (certs / "root.pem").read_bytes(), (certs / "key.pem").read_bytes()
        options = [("grpc.ssl_target_name_override", "control-plane"), ("grpc.use_local_subchannel_pool", 1)]
        self.channels = [
            grpc.aio.secure_channel(
                f"127.0.0.1:{args.port}",
                grpc.ssl_channel_credentials(root, key, (certs / f"app-{i}.ns-000.pem").read_bytes()),
                options,
            )
            for i in range(args.proxies)
        ]
        self._body = renewal()

    async def connect(self) -> dict[str, Any]:
        began = time.monotonic()
        async with asyncio.timeout(60):
            await asyncio.gather(*(channel.channel_ready() for channel in self.channels))
        return {"seconds": time.monotonic() - began}

    async def renew(self, times: int) -> dict[str, Any]:
        slots = asyncio.Semaphore(WINDOW)
        calls = [channel.unary_unary(RENEW_METHOD) for channel in self.channels]

        async def one(call: Any) -> str:
            async with slots:
                try:
                    answer = json.loads(await call(self._body, timeout=30))
                except grpc.aio.AioRpcError as error:
                    return f"{error.code()}: {error.details()}"
                return "" if answer["certificate"].startswith("-----BEGIN") else "no certificate"

        began = time.monotonic()
        said = await asyncio.gather(*(one(call) for _ in range(times) for call in calls))
        return {"seconds": time.monotonic() - began, "failed": [why for why in said if why][:5]}


async def main(args: argparse.Namespace) -> None:
    herd = Herd(args)
    print(json.dumps({"up": True}), flush=True)
    async for command in orders():
        answer = await (herd.connect() if command["do"] == "connect" else herd.renew(command["times"]))
        print(json.dumps(answer), flush=True)
    await asyncio.gather(*(channel.close() for channel in herd.channels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("port", "proxies"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--certs", required=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
    asyncio.run(main(parser.parse_args()))
