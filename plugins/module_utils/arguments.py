# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that every module of the action group has."""

from __future__ import annotations

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient, ApiError, load_access


def control_plane_options() -> dict[str, t.Any]:
    """For `argument_spec`; documented in the fragment meshwright.mesh.control_plane."""
    return {
        "api_url": {"type": "str", "fallback": (env_fallback, ["MESHWRIGHT_API_URL"])},
        "api_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["MESHWRIGHT_TOKEN"])},
        "api_token_path": {"type": "path", "no_log": False, "fallback": (env_fallback, ["MESHWRIGHT_TOKEN_FILE"])},
        "ca_path": {"type": "path", "fallback": (env_fallback, ["MESHWRIGHT_CA_FILE"])},
        "api_timeout": {"type": "int", "default": 30},
    }


def run(module: AnsibleModule, work: t.Callable[[ApiClient], dict[str, t.Any]]) -> t.NoReturn:
    """Does `work` with a client and ends the module with what it returns, or with what the API said."""
    try:
        client = ApiClient(load_access(module.params, os.environ))
        try:
            result = work(client)
        finally:
            client.close()
    except ApiError as error:
        module.fail_json(**failure(error))
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def failure(error: ApiError) -> dict[str, t.Any]:
    """The result of a task that the API refused. `msg` has every violation, one a line."""
    return {
        "msg": "\n".join([error.message, *_lines(error.violations)]),
        "reason": error.reason,
        "status": error.status,
        "violations": error.violations,
    }


def _lines(violations: t.Iterable[t.Mapping[str, str]]) -> list[str]:
    """`KIND/NAMESPACE/NAME: path: Reason: message`, of what is there of these."""
    parts = [[one.get(key) for key in ("resource", "path", "reason", "message")] for one in violations]
    return ["  " + ": ".join(part for part in one if part) for one in parts]
