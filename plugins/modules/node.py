#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node
short_description: Hosts that may run workloads of the mesh, enrolled by their SSH host key
version_added: "0.1.0"
author:
  - Meshwright contributors (@meshwright)
description:
  - Enrols the target host with the workloads it may run. Afterwards the host gets certificates by proving that it has its SSH host key.
  - The public host key is read over the connection and must be the one that the controller already knows from C(known_hosts)
    (with the connection's own host name, port, C(HostKeyAlias) and C(UserKnownHostsFile); hashed entries too), or have a fingerprint that
    O(expected_fingerprint) names. A host whose key is unknown, or another one than known, is refused,
    and so is every host while host key checking is off.
  - The rule API is asked from the controller. The target needs no access to it for this, and nothing is installed there.
extends_documentation_fragment:
  - meshwright.mesh.attributes
  - meshwright.mesh.control_plane
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the node. The target's inventory name by default.
    type: str
  state:
    description:
      - V(present) enrols the host, or changes what it may run. A node that was banned is allowed again.
      - V(banned) ends the identities of the node and refuses it new ones, but keeps its record. The host is not contacted.
      - V(absent) forgets the node. The host is not contacted.
    type: str
    choices: [present, absent, banned]
    default: present
  workloads:
    description:
      - What the host may run. Replaces what was there.
      - When not given, the workloads stay as they are.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the workload, unique in its namespace.
        type: str
        required: true
      namespace:
        description: Namespace of the workload.
        type: str
        default: default
      service_account:
        description: The account that its identity C(spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT) names.
        type: str
        default: default
      labels:
        description: Labels that rules select the workload by.
        type: dict
        default: {}
      inbound_port:
        description: Port on which its sidecar takes mutual TLS from others. Workloads of one host need one each.
        type: int
        default: 15006
      loopback:
        description: First two octets of the loopback network in which its sidecar listens for the applications of the host.
        type: str
        default: "127.240"
      ip_families:
        description: On which families the inbound port is bound.
        type: list
        elements: str
        choices: [IPv4, IPv6]
        default: [IPv4]
  expected_fingerprint:
    description:
      - SHA256 fingerprints, as C(ssh-keygen -l) shows them, one of which the host must show. C(known_hosts) is not asked then.
      - Needed for connections other than SSH.
    type: list
    elements: str
notes:
  - An action plugin does the work on the controller, so that C(delegate_to) is not needed.
seealso:
  - module: meshwright.mesh.proxy_info
"""

EXAMPLES = r"""
- name: This host may run one instance of reviews
  meshwright.mesh.node:
    workloads:
      - name: reviews-web1
        namespace: shop
        service_account: reviews
        labels:
          app: reviews
          version: v1

- name: A host that the controller has no known_hosts entry for
  meshwright.mesh.node:
    expected_fingerprint: SHA256:p2QAMXNIC1TJYWeIOttrVc98/R1BUFWu3/LiyKgUfQM
    workloads:
      - name: reviews-web2
        namespace: shop
        service_account: reviews

- name: A stolen disk
  meshwright.mesh.node:
    state: banned
"""

RETURN = r"""
node:
  description: The node as it is enrolled, in check mode as it would be. Not there for O(state=absent).
  returned: success
  type: dict
  sample:
    name: web1
    banned: false
    sshHostKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVgqTnYVCTEh0VRmYQGCzO9LgMH0dW6bJ6cIbqSRnNn]
    workloads: []
fingerprints:
  description: Fingerprints of the host keys that were verified.
  returned: O(state=present)
  type: list
  elements: str
host_key_path:
  description: Path of the private key on the host that belongs to the best of them. What the agent signs with.
  returned: O(state=present)
  type: str
  sample: /etc/ssh/ssh_host_ed25519_key
"""
