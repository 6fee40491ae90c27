#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: resource_info
short_description: Documents of the rule API, as they are stored
version_added: "0.1.0"
author:
  - Meshwright contributors (@meshwright)
description:
  - Reads documents of one kind, with the C(status.conditions) that say what the mesh makes of them.
requirements:
  - python >= 3.9
extends_documentation_fragment:
  - meshwright.mesh.attributes
  - meshwright.mesh.attributes.info
  - meshwright.mesh.control_plane
options:
  kind:
    description: The kind, like V(VirtualService).
    type: str
    required: true
  namespace:
    description: Only of this namespace. Needed for O(name).
    type: str
  name:
    description: Only the one of this name. It is no error when there is none.
    type: str
  label_selectors:
    description: Only those that have all of these labels, each like V(app=reviews).
    type: list
    elements: str
    default: []
seealso:
  - module: meshwright.mesh.resource
"""

EXAMPLES = r"""
- name: Every instance of the reviews service
  meshwright.mesh.resource_info:
    kind: WorkloadEntry
    namespace: shop
  delegate_to: localhost
  register: entries

- name: One rule and whether the proxies run it
  meshwright.mesh.resource_info:
    kind: VirtualService
    namespace: shop
    name: reviews
  delegate_to: localhost
  register: rule
"""

RETURN = r"""
resources:
  description: The documents found, sorted by namespace and name.
  returned: success
  type: list
  elements: dict
revision:
  description: The revision of the mesh that was read, V(0) when O(name) is given.
  returned: success
  type: int
  sample: 42
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient
from ansible_collections.meshwright.mesh.plugins.module_utils.arguments import control_plane_options, run
from ansible_collections.meshwright.mesh.plugins.module_utils.documents import resource_path


def read(client: ApiClient, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    if params["name"]:
        found = client.find(resource_path(params["kind"], params["namespace"], params["name"]))
        return {"changed": False, "resources": [found] if found else [], "revision": 0}
    query = {"labelSelector": ",".join(params["label_selectors"])} if params["label_selectors"] else None
    listed = client.get(resource_path(params["kind"], params["namespace"]), query).data
    items = sorted(listed.get("items") or [], key=lambda one: (one["metadata"].get("namespace", ""), one["metadata"]["name"]))
    return {"changed": False, "resources": items, "revision": int((listed.get("metadata") or {}).get("resourceVersion") or 0)}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            kind={"type": "str", "required": True},
            namespace={"type": "str"},
            name={"type": "str"},
            label_selectors={"type": "list", "elements": "str", "default": []},
            **control_plane_options(),
        ),
        required_by={"name": ["namespace"]},
        supports_check_mode=True,
    )
    run(module, lambda client: read(client, module.params))


if __name__ == "__main__":
    main()
