# SPDX-License-Identifier: Apache-2.0
"""What a node may say: the checks of an enrolment, all of its violations at once."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator

import msgspec

from meshwright.errors import Violation
from meshwright.model.identity import ProxyId, is_dns_label, is_dns_subdomain
from meshwright.model.proxy import EnrolledWorkload, Node

KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
MAX_KEYS = 16
MAX_WORKLOADS = 256
MAX_LABELS = 64
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_LOOPBACK = re.compile(r"127\.(?:[1-9]?[0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5])")


def normal(node: Node) -> Node:
    """Keys without comments and white space, sorted: the same enrolment is the same bytes. Workloads sorted by namespace and name."""
    keys = tuple(sorted({" ".join(key.split()[:2]) for key in node.ssh_host_keys}))
    workloads = tuple(sorted(node.workloads, key=lambda w: (w.namespace, w.name)))
    return msgspec.structs.replace(node, ssh_host_keys=keys, workloads=workloads)


def violations(node: Node) -> Iterator[Violation]:
    if len(node.ssh_host_keys) > MAX_KEYS:
        yield Violation("sshHostKeys", "Limit", f"at most {MAX_KEYS}")
    for i, key in enumerate(node.ssh_host_keys[:MAX_KEYS]):
        message = key_error(key)
        if message:
            yield Violation(f"sshHostKeys[{i}]", "InvalidValue", message)
    if len(node.workloads) > MAX_WORKLOADS:
        yield Violation("workloads", "Limit", f"at most {MAX_WORKLOADS}")
    seen: set[tuple[str, str]] = set()
    for i, workload in enumerate(node.workloads[:MAX_WORKLOADS]):
        yield from _workload(f"workloads[{i}]", workload)
        if (workload.namespace, workload.name) in seen:
            yield Violation(f"workloads[{i}].name", "Duplicate", f"{workload.namespace}/{workload.name} is there already")
        seen.add((workload.namespace, workload.name))
    ports = [workload.proxy.inbound_port for workload in node.workloads]
    for i, workload in enumerate(node.workloads[:MAX_WORKLOADS]):
        if workload.proxy.inbound_port in ports[:i]:
            yield Violation(f"workloads[{i}].proxy.inboundPort", "Duplicate", "another workload of this node has the same inbound port")


def _workload(path: str, workload: EnrolledWorkload) -> Iterator[Violation]:
    if not is_dns_subdomain(workload.name):
        yield Violation(f"{path}.name", "InvalidValue", "must be lower-case letters, digits, '-' and '.'")
    if not is_dns_label(workload.namespace):
        yield Violation(f"{path}.namespace", "InvalidValue", "must be a DNS label")
    elif is_dns_subdomain(workload.name):
        try:
            ProxyId.parse(f"{workload.name}.{workload.namespace}")
        except ValueError as error:
            yield Violation(f"{path}.name", "InvalidValue", str(error))
    if not is_dns_subdomain(workload.service_account):
        yield Violation(f"{path}.serviceAccount", "InvalidValue", "must be lower-case letters, digits, '-' and '.'")
    if len(workload.labels) > MAX_LABELS:
        yield Violation(f"{path}.labels", "Limit", f"at most {MAX_LABELS}")
    for key, value in list(workload.labels.items())[:MAX_LABELS]:
        if not _LABEL.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield Violation(f"{path}.labels", "InvalidValue", f"{key[:64]!r}: {value[:64]!r} is not a label")
    yield from _proxy(f"{path}.proxy", workload)


def _proxy(path: str, workload: EnrolledWorkload) -> Iterator[Violation]:
    proxy = workload.proxy
    if not 1 <= proxy.inbound_port <= 65535:
        yield Violation(f"{path}.inboundPort", "OutOfRange", "must be 1 to 65535")
    if not _LOOPBACK.fullmatch(proxy.loopback) or proxy.loopback == "127.0":
        yield Violation(f"{path}.loopback", "InvalidValue", "must be the first two numbers of a loopback network, 127.1 to 127.255")
    families = proxy.ip_families
    if not families or len(set(families)) != len(families) or not set(families) <= {"IPv4", "IPv6"}:
        yield Violation(f"{path}.ipFamilies", "InvalidValue", 'must be ["IPv4"], ["IPv6"] or both')


def key_error(line: str) -> str:
    """What is wrong with a public key in OpenSSH form, '' when nothing is."""
    parts = line.split()
    if len(line) > 4096 or not 2 <= len(parts) <= 16 or not line.isprintable():
        return "must be one line: TYPE BASE64 (as in /etc/ssh/ssh_host_ed25519_key.pub)"
    if parts[0] not in KEY_TYPES:
        return f"the type {parts[0][:64]!r} is not taken: {', '.join(KEY_TYPES)}"
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        return "its second word is not base64"
    size = int.from_bytes(blob[:4], "big")
    if blob[4 : 4 + size] != parts[0].encode() or len(blob) < 36:
        return f"is not a key of the type {parts[0]}"
    return ""
