# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import shlex
import subprocess
import typing as t

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient, ApiError, load_access, segment
from ansible_collections.meshwright.mesh.plugins.module_utils.arguments import control_plane_options, failure
from ansible_collections.meshwright.mesh.plugins.module_utils.documents import text_diff
from ansible_collections.meshwright.mesh.plugins.module_utils.host_keys import (
    TELL_FINGERPRINT,
    HostKey,
    HostKeyError,
    parse_known,
    parse_public_keys,
    verify_by_fingerprint,
    verify_by_known_hosts,
)
from ansible_collections.meshwright.mesh.plugins.module_utils.node_document import from_options, full_node, key_owner

NODES = "/mesh/v1/nodes"
SHOW_KEYS = 'for f in /etc/ssh/ssh_host_*_key.pub; do test -r "$f" && printf "%s " "$f" && cat "$f"; done; true'
COMMAND_SECONDS = 20
WORKLOAD = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "default": "default"},
    "service_account": {"type": "str", "default": "default"},
    "labels": {"type": "dict", "default": {}},
    "inbound_port": {"type": "int", "default": 15006},
    "loopback": {"type": "str", "default": "127.240"},
    "ip_families": {"type": "list", "elements": "str", "choices": ["IPv4", "IPv6"], "default": ["IPv4"]},
}


class ActionModule(ActionBase):
    """Reads the host's public keys over the connection; everything else happens on the controller."""

    TRANSFERS_FILES = False
    _requires_connection = False  # absent and banned never contact the host
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        environ = self._environment()
        _validated, params = self.validate_argument_spec(
            argument_spec={
                "name": {"type": "str"},
                "state": {"type": "str", "choices": ["present", "absent", "banned"], "default": "present"},
                "workloads": {"type": "list", "elements": "dict", "options": WORKLOAD},
                "expected_fingerprint": {"type": "list", "elements": "str"},
                **control_plane_options(),
            }
        )
        for option, variable in (
            ("api_url", "MESHWRIGHT_API_URL"),
            ("api_token", "MESHWRIGHT_TOKEN"),
            ("api_token_path", "MESHWRIGHT_TOKEN_FILE"),
            ("ca_path", "MESHWRIGHT_CA_FILE"),
        ):
            params[option] = params[option] or environ.get(variable)
        try:
            client = ApiClient(load_access(params, environ))
            try:
                result.update(self._carry_out(client, params, params["name"] or task_vars.get("inventory_hostname") or "", task_vars))
            finally:
                client.close()
        except ApiError as error:
            result.update(failed=True, **failure(error))
        except HostKeyError as error:
            result.update(failed=True, reason="HostKey", msg=str(error))
        return result

    def _environment(self) -> dict[str, str]:
        """The controller's, with the task's `environment` on top: action plugins don't get that by themselves."""
        environ = dict(os.environ)
        for entry in self._task.environment or []:
            values = self._templar.template(entry)
            if isinstance(values, dict):
                environ.update({str(key): str(value) for key, value in values.items()})
        return environ

    def _carry_out(self, client: ApiClient, params: dict[str, t.Any], name: str, task_vars: dict[str, t.Any]) -> dict[str, t.Any]:
        path = "%s/%s" % (NODES, segment(name))
        if params["state"] != "present":
            return self._end(client, path, name, params["state"])
        nodes = client.get(NODES).data.get("items") or []
        stored = next((one for one in nodes if one["name"] == name), None)
        keys = self._verified_keys(params["expected_fingerprint"], task_vars)
        owner = key_owner(nodes, name, [key.line for key in keys])
        if owner:
            raise HostKeyError(
                "the host key of %s is already enrolled for the node %s: two hosts with one key (a copied image?) could take each other's "
                "identity. Give one of them a new key, or take the old node away with state: absent, name: %s" % (name, owner, owner)
            )
        before = full_node(stored) if stored else {}
        workloads = params["workloads"]
        after = full_node(
            {
                "name": name,
                "sshHostKeys": [key.line for key in keys],
                "workloads": before.get("workloads", []) if workloads is None else [from_options(one) for one in workloads],
            }
        )
        outcome = self._store(client, path, before, after, stored)
        outcome["fingerprints"] = [key.fingerprint for key in keys]
        outcome["host_key_path"] = keys[0].path.removesuffix(".pub")
        return outcome

    def _store(
        self, client: ApiClient, path: str, before: dict[str, t.Any], after: dict[str, t.Any], stored: dict[str, t.Any] | None
    ) -> dict[str, t.Any]:
        outcome: dict[str, t.Any] = {"changed": before != after, "node": after}
        if not outcome["changed"]:
            return outcome
        outcome["diff"] = text_diff("Node/%s" % after["name"], before, after)
        if not self._task.check_mode:
            version = (stored or {}).get("resourceVersion")
            answer = client.put(path, dict(after, resourceVersion=version) if version else after)
            outcome["node"] = full_node(answer.data) if isinstance(answer.data, dict) and answer.data.get("name") else after
        return outcome

    def _end(self, client: ApiClient, path: str, name: str, state: str) -> dict[str, t.Any]:
        stored = client.find(path)
        if state == "banned":
            if stored is None:
                raise ApiError("node %s is not enrolled, so there is nothing to ban" % name, 404, "NotFound")
            before = full_node(stored)
            return self._store(client, path, before, dict(before, banned=True), stored)
        if stored is None:
            return {"changed": False}
        if not self._task.check_mode:
            client.delete(path)
        return {"changed": True, "diff": text_diff("Node/%s" % name, full_node(stored), {})}

    def _verified_keys(self, expected: list[str] | None, task_vars: dict[str, t.Any]) -> list[HostKey]:
        shown = parse_public_keys(self._low_level_execute_command(SHOW_KEYS, sudoable=False)["stdout"])
        address = str(self._play_context.remote_addr or task_vars.get("inventory_hostname"))
        if expected:
            return verify_by_fingerprint(shown, expected, address)
        transport = self._connection.transport
        if transport not in ("ssh", "paramiko", "paramiko_ssh"):
            raise HostKeyError("the connection to %s is %s, which proves no SSH host key: %s" % (address, transport, TELL_FINGERPRINT))
        name, files = self._known_hosts_place()
        texts = [_run(["ssh-keygen", "-F", name, "-f", file]) for file in files]
        return verify_by_known_hosts(shown, parse_known("\n".join(texts)), name, files)

    def _known_hosts_place(self) -> tuple[str, list[str]]:
        """Under which name and in which files ssh itself would look, by its own reading of options and configuration files."""
        host = str(self._connection_option("host") or self._play_context.remote_addr)
        command = [str(self._connection_option("ssh_executable") or "ssh"), "-G"]
        for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
            command += shlex.split(str(self._connection_option(option) or ""))
        port = self._connection_option("port")
        command += ["-p", str(port)] if port else []
        said: dict[str, str] = {}
        for line in _run([*command, "--", host]).splitlines():
            key, _space, value = line.partition(" ")
            said[key] = value
        if "hostname" not in said:
            raise HostKeyError("`ssh -G %s` did not say where its known_hosts is" % host)
        if said.get("stricthostkeychecking") in ("false", "no", "off") or self._connection_option("host_key_checking") is False:
            raise HostKeyError(
                "host key checking is off (StrictHostKeyChecking, host_key_checking), so that known_hosts takes any key and proves "
                "nothing of %s. Either turn it on, or %s" % (host, TELL_FINGERPRINT)
            )
        files = [os.path.expanduser(file) for key in ("userknownhostsfile", "globalknownhostsfile") for file in said.get(key, "").split()]
        alias = said.get("hostkeyalias", "none")
        if alias != "none":
            return alias, _there(files)
        name = said["hostname"] if said.get("port", "22") == "22" else "[%s]:%s" % (said["hostname"], said["port"])
        return name, _there(files)

    def _connection_option(self, name: str) -> t.Any:
        try:
            return self._connection.get_option(name)
        except (KeyError, AnsibleError):
            return None


def _there(files: list[str]) -> list[str]:
    return [file for file in files if os.path.isfile(file)]


def _run(command: list[str]) -> str:
    """Its output; '' when it found nothing (ssh-keygen -F ends with 1 then)."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HostKeyError("%s can't be run: %s" % (command[0], error)) from error
    return done.stdout
