# SPDX-License-Identifier: Apache-2.0
"""Every workload has a certificate that names it: what the control plane says of it, and what is on the host's disk."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509

from examples.demo.control_plane import all_synced
from examples.demo.mesh import WORKLOADS, Mesh

SETTLE_SECONDS = 30.0


def check(mesh: Mesh) -> None:
    mesh.report.title("Identities")
    proxies = mesh.control_plane.wait_until(all_synced(len(WORKLOADS)), SETTLE_SECONDS)
    synced = sum(one["connected"] and one["sync"] == "SYNCED" for one in proxies)
    mesh.report.check("every proxy is connected and in sync", synced == len(WORKLOADS), f"{synced} of {len(WORKLOADS)}")
    told = {one["id"]: one["spiffeId"] for one in proxies}
    for workload in WORKLOADS:
        proxy = WORKLOADS[workload].proxy_id
        state = f"/var/lib/meshwright/agents/{proxy}"
        certificate = x509.load_pem_x509_certificate(mesh.host(workload).read(f"{state}/svid.pem").encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        mode = mesh.host(workload).ssh(f"stat -Lc '%a %U' {state}/svid.key").stdout.strip()
        wanted = WORKLOADS[workload].spiffe_id
        hours = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 3600
        good = uris == [wanted] and told.get(proxy) == wanted and mode == "600 meshwright" and hours > 0
        figure = f"{' '.join(uris)}, expires {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC (in {hours:.1f} h), key {mode}"
        mesh.report.check(f"identity of {proxy} on {mesh.host(workload).name}", good, figure)
