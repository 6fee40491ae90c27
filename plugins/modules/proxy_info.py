#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: proxy_info
short_description: The sidecars of the mesh, whether they are connected and what they run
version_added: "0.1.0"
author:
  - Meshwright contributors (@meshwright)
description:
  - Reads which proxies are enrolled, which of them are connected, their certificates and whether they run the newest configuration.
  - Can wait until given proxies are connected and in sync.
requirements:
  - python >= 3.9
extends_documentation_fragment:
  - meshwright.mesh.attributes
  - meshwright.mesh.attributes.info
  - meshwright.mesh.control_plane
options:
  id:
    description: Only these proxies, each as C(NAME.NAMESPACE).
    type: list
    elements: str
  config:
    description: Whether to read the configuration of each proxy of O(id) as well.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until every proxy of O(id) is connected and V(SYNCED).
      - A proxy that refuses its configuration fails the task at once, with Envoy's words.
    type: bool
    default: false
  wait_timeout:
    description: How many seconds to wait.
    type: int
    default: 60
seealso:
  - module: meshwright.mesh.resource
  - module: meshwright.mesh.node
"""

EXAMPLES = r"""
- name: All proxies
  meshwright.mesh.proxy_info:
  delegate_to: localhost
  register: mesh

- name: No proxy may be away
  ansible.builtin.assert:
    that: mesh.proxies | rejectattr('connected') | length == 0

- name: The listeners of one sidecar
  meshwright.mesh.proxy_info:
    id: [reviews-web1.shop]
    config: true
  delegate_to: localhost
  register: sidecar

- name: Go on when the new instance is in the mesh
  meshwright.mesh.proxy_info:
    id: [reviews-web2.shop]
    wait: true
  delegate_to: localhost
"""

RETURN = r"""
proxies:
  description:
    - The proxies, each with C(id), C(namespace), C(name), C(node), C(spiffeId), C(connected), C(connectedSince), C(address), C(revision),
      C(sync) (V(SYNCED), V(PENDING), V(REJECTED) or V(AWAY)), C(rejections), C(svid) (C(serial), C(notBefore), C(notAfter), C(count)) and
      C(envoyVersion).
    - With O(config=true) each has C(config), with C(revision) and lists of C(clusters), C(endpoints), C(listeners), C(routes).
    - A proxy of O(id) that is not enrolled is left out.
  returned: success
  type: list
  elements: dict
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient, ApiError, segment
from ansible_collections.meshwright.mesh.plugins.module_utils.arguments import control_plane_options, run
from ansible_collections.meshwright.mesh.plugins.module_utils.rollout import refusal

POLL_SECONDS = 0.25
PROXIES = "/mesh/v1/proxies"


def listed(client: ApiClient, ids: t.Sequence[str] | None) -> list[dict[str, t.Any]]:
    proxies = sorted(client.get(PROXIES).data.get("items") or [], key=lambda one: one["id"])
    return proxies if ids is None else [one for one in proxies if one["id"] in ids]


def missing(proxies: t.Sequence[t.Mapping[str, t.Any]], ids: t.Sequence[str]) -> dict[str, str]:
    """Proxies that are not as wished yet, and how they are."""
    by_id = {one["id"]: one for one in proxies}
    state = {name: by_id[name].get("sync") or "AWAY" if name in by_id else "not enrolled" for name in ids}
    return {name: word for name, word in state.items() if word != "SYNCED" or not by_id[name].get("connected")}


def wait_for(client: ApiClient, ids: t.Sequence[str], timeout: float) -> dict[str, t.Any]:
    deadline = time.monotonic() + timeout
    while True:
        proxies = listed(client, ids)
        waiting = missing(proxies, ids)
        rejections = [rejection for one in proxies for rejection in one.get("rejections") or []] if "REJECTED" in waiting.values() else []
        if rejections:
            return {"failed": True, "changed": False, "proxies": proxies, "msg": refusal(rejections)}
        if not waiting:
            return {"changed": False, "proxies": proxies}
        if time.monotonic() > deadline:
            told = ", ".join("%s (%s)" % item for item in waiting.items())
            return {"failed": True, "changed": False, "proxies": proxies, "msg": "after %d s not ready: %s" % (timeout, told)}
        time.sleep(POLL_SECONDS)


def read(client: ApiClient, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    ids = params["id"]
    result = wait_for(client, ids, params["wait_timeout"]) if params["wait"] else {"changed": False, "proxies": listed(client, ids)}
    if params["config"] and not result.get("failed"):
        for proxy in result["proxies"]:
            try:
                proxy["config"] = client.get("%s/%s/config" % (PROXIES, segment(proxy["id"]))).data
            except ApiError as error:
                if error.status != 404:
                    raise
    return result


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            id={"type": "list", "elements": "str"},
            config={"type": "bool", "default": False},
            wait={"type": "bool", "default": False},
            wait_timeout={"type": "int", "default": 60},
            **control_plane_options(),
        ),
        required_if=[("wait", True, ("id",)), ("config", True, ("id",))],
        supports_check_mode=True,
    )
    run(module, lambda client: read(client, module.params))


if __name__ == "__main__":
    main()
