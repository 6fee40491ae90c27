# SPDX-License-Identifier: Apache-2.0
"""Every workload has a certificate that names it: what the control plane says of it, and what is on the host's disk."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509

from examples.demo.control_plane import all_synced
from examples.demo.mesh import WORKLOADS, Mesh

SETTLE_SECONDS = 30.0


def check(mesh: Mesh) -> None:
    mesh.report.title("Identities: every workload has a certificate that says who it is")
    proxies = mesh.control_plane.wait_until(all_synced(len(WORKLOADS)), SETTLE_SECONDS)
    synced = sum(one["connected"] and one["sync"] == "SYNCED" for one in proxies)
    figure = f"{synced} of {len(WORKLOADS)} Envoys run what the control plane wants"
    mesh.report.check("every Envoy is connected and in sync", synced == len(WORKLOADS), figure)
    told = {one["id"]: one["spiffeId"] for one in proxies}
    for workload, one in WORKLOADS.items():
        certificate = x509.load_pem_x509_certificate(mesh.certificate(workload).encode())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key = mesh.key_file(workload)
        hours = (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() / 3600
        private = key.mode == "600" and key.owner == key.wanted_owner != ""
        good = uris == [one.spiffe_id] and told.get(one.proxy_id) == one.spiffe_id and private and hours > 0
        reader = f"its private key is for the user {key.owner} only" if private else f"its private key has mode {key.mode} {key.owner}"
        mesh.report.check(
            f"{one.proxy_id} has an identity of its own", good, f"{' '.join(uris)}, good for {hours:.1f} hours more; {reader}"
        )
