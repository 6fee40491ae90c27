# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  api_url:
    description:
      - Where the control plane serves its rule API, like V(https://mesh.example.org:15080).
      - If not given, the value of the environment variable E(MESHWRIGHT_API_URL) is used, else C(apiUrl) of the file that
        E(MESHWRIGHT_CONFIG) names, C(~/.config/meshwright/config.json) by default, which the role
        P(meshwright.mesh.control_plane#role) writes.
    type: str
  api_token:
    description:
      - Bearer token for the rule API.
      - If not given, the value of the environment variable E(MESHWRIGHT_TOKEN) is used.
      - Prefer O(api_token_path), which keeps the token out of playbooks.
    type: str
  api_token_path:
    description:
      - File that holds the bearer token, on the host that runs the module. Not read when O(api_token) is there.
      - If not given, the value of the environment variable E(MESHWRIGHT_TOKEN_FILE) is used, else C(tokenFile) of C(config.json).
    type: path
  ca_path:
    description:
      - File with the certificates (PEM) that the control plane's certificate must chain to.
      - If not given, the value of the environment variable E(MESHWRIGHT_CA_FILE) is used, else C(caFile) of C(config.json),
        else the certificates that the system trusts. The certificate is verified in any case.
    type: path
  api_timeout:
    description:
      - How many seconds one request to the rule API may take. A control plane that is busy, or that went away during the task, is waited
        for within it.
      - One that can't be connected to at all fails the task after three seconds (ten, where nothing answers at its address).
    type: int
    default: 30
"""
