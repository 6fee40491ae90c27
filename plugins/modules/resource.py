#!/usr/bin/python
# -*- coding: utf-8 -*-

# Copyright (c) 2026, Meshwright contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: resource
short_description: Rules of the mesh, applied until the proxies run them
version_added: "0.1.0"
author:
  - Meshwright contributors (@meshwright)
description:
  - Creates, changes and deletes documents of the rule API, for example VirtualServices and AuthorizationPolicies.
  - The task ends when every connected proxy concerned has taken the change, and fails with Envoy's own words when one refuses it.
  - All documents of one task are checked by the control plane before the first of them is stored.
  - What is stored and yet leads nowhere (a host or subset that is not there) is a warning, each time, and not a failure.
notes:
  - The task runs where it is delegated to, and the rule API must be reachable from there. Usually that is V(localhost).
requirements:
  - python >= 3.9
  - PyYAML, when O(src) is used or O(definition) is a text
extends_documentation_fragment:
  - meshwright.mesh.attributes
  - meshwright.mesh.control_plane
attributes:
  check_mode:
    support: full
    details: The control plane itself answers what it would do (C(dryRun=All)).
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  definition:
    description:
      - The document, a list of documents, or YAML text with one or several documents.
      - A document without C(metadata.namespace) belongs to V(default).
      - With a C(metadata.resourceVersion) the document is only stored when that is still the current one.
      - For O(state=absent) nothing but C(apiVersion), C(kind) and C(metadata) matters.
    type: raw
  src:
    description: A YAML file with one or several documents, on the host that runs the module.
    type: path
  state:
    description: Whether the documents are to be there.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description: Whether to wait until the connected proxies concerned have the change.
    type: bool
    default: true
  wait_for:
    description:
      - What to wait for.
      - V(acked) means that Envoy has taken the configuration.
    type: str
    choices: [acked]
    default: acked
  wait_timeout:
    description: How many seconds to wait for the proxies. Proxies that still have not answered then fail the task.
    type: int
    default: 60
seealso:
  - module: meshwright.mesh.resource_info
  - module: meshwright.mesh.proxy_info
"""

EXAMPLES = r"""
- name: Only productpage may read reviews
  meshwright.mesh.resource:
    definition:
      apiVersion: security.istio.io/v1
      kind: AuthorizationPolicy
      metadata:
        name: reviews-readers
        namespace: shop
      spec:
        selector:
          matchLabels:
            app: reviews
        action: ALLOW
        rules:
          - from:
              - source:
                  principals: [cluster.local/ns/shop/sa/productpage]
            to:
              - operation:
                  methods: [GET]
  delegate_to: localhost

- name: See what a file of rules would change
  meshwright.mesh.resource:
    src: rules/shop.yml
  delegate_to: localhost
  check_mode: true
  diff: true

- name: Several documents from a template, in one task
  meshwright.mesh.resource:
    definition: "{{ lookup('ansible.builtin.template', 'canary.yml.j2') }}"
    wait_timeout: 120
  delegate_to: localhost

- name: A rule that is gone
  meshwright.mesh.resource:
    state: absent
    definition:
      apiVersion: networking.istio.io/v1
      kind: VirtualService
      metadata:
        name: reviews
        namespace: shop
  delegate_to: localhost
"""

RETURN = r"""
resources:
  description:
    - The documents as they are stored, in the order in which they were given, with their C(status).
    - In check mode as they would be stored. For O(state=absent) as they were.
  returned: success
  type: list
  elements: dict
revision:
  description: The revision of the mesh at which all of this holds. In check mode the current one.
  returned: success
  type: int
  sample: 42
rollout:
  description: What the proxies made of it.
  returned: when O(wait=true), outside check mode
  type: dict
  contains:
    state:
      description: V(done), V(pending) or V(rejected).
      type: str
      sample: done
    proxies:
      description: The proxies concerned.
      type: dict
      contains:
        total:
          description: How many are concerned; with several revisions in one task the largest number.
          type: int
        acked:
          description: How many have it.
          type: int
        pending:
          description: Connected proxies that have not answered yet.
          type: list
          elements: str
        away:
          description: Proxies that are not connected. They get the change when they come back.
          type: list
          elements: str
    rejections:
      description: Each refusal with C(proxy), C(type), C(name), C(message) (Envoy's words) and C(refs) (the documents it comes from).
      type: list
      elements: dict
    seconds:
      description: How long it was waited.
      type: float
violations:
  description:
    - Everything that is wrong with the documents that the control plane does not take. C(msg) has the same, one a line.
    - Documents that are given together are all looked at before the first is stored, so that this is of all of them.
  returned: when a document is refused
  type: list
  elements: dict
  contains:
    resource:
      description: The document, as C(KIND/NAMESPACE/NAME).
      type: str
      sample: VirtualService/shop/reviews
    path:
      description: Where in the document.
      type: str
      sample: spec.http[0].route[0].weigth
    reason:
      description: What is wrong, in one word.
      type: str
      sample: UnknownField
    message:
      description: What is wrong, in a sentence.
      type: str
      sample: unknown field; did you mean `weight`?
reason:
  description: Why, in one word, for example V(Invalid), V(Forbidden), V(RefusedByProxy) or V(Timeout).
  returned: on failure
  type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.meshwright.mesh.plugins.module_utils.api_client import ApiClient, ApiError
from ansible_collections.meshwright.mesh.plugins.module_utils.arguments import control_plane_options, run
from ansible_collections.meshwright.mesh.plugins.module_utils.documents import Document, parse_documents, text_diff, user_part
from ansible_collections.meshwright.mesh.plugins.module_utils.rollout import refusal, wait_for_rollouts

try:
    import yaml

    HAS_YAML = True
except ImportError:
    HAS_YAML = False


class Outcome(t.NamedTuple):
    """Of one document: what it is now (or was, when deleted), and what it was before (None: not there, or not asked for)."""

    document: Document
    before: dict[str, t.Any] | None
    after: dict[str, t.Any] | None
    revision: int
    changed: bool


def given_documents(module: AnsibleModule) -> list[Document]:
    """Of the options. Raises ApiError, or ends the module where YAML can't be read."""
    given = module.params["definition"]
    if module.params["src"]:
        try:
            with open(module.params["src"], encoding="utf-8") as file:
                given = file.read()
        except (OSError, UnicodeDecodeError) as error:
            raise ApiError("src: %s can't be read: %s" % (module.params["src"], error), reason="Usage") from error
    if isinstance(given, str):
        if not HAS_YAML:
            module.fail_json(msg=missing_required_lib("PyYAML"))
        try:
            given = list(yaml.safe_load_all(given))
        except yaml.YAMLError as error:
            raise ApiError("%s is not YAML: %s" % (module.params["src"] or "definition", error), reason="Usage") from error
        if len(given) == 1:
            given = given[0]
    return parse_documents(given)


def store(client: ApiClient, document: Document, with_before: bool, dry_run: bool) -> Outcome:
    before = client.find(document.path) if with_before else None
    try:
        answer = client.put(document.path, document.body, dry_run)
    except ApiError as error:
        violations = [{"resource": document.label, **one} for one in error.violations]
        message = "%s is refused:" % document.label if violations else "%s: %s" % (document.label, error.message)
        raise ApiError(message, error.status, error.reason, violations) from error
    return Outcome(document, before, answer.data, answer.revision, answer.changed)


def check(client: ApiClient, documents: t.Sequence[Document]) -> None:
    """Lets the control plane look at all of them, storing none. Raises ApiError with what is wrong with each."""
    errors = []
    for document in documents:
        try:
            store(client, document, with_before=False, dry_run=True)
        except ApiError as error:
            if not error.violations:
                raise
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        message = "%d of %d documents are refused, and none is stored:" % (len(errors), len(documents))
        raise ApiError(message, errors[0].status, errors[0].reason, [one for error in errors for one in error.violations])


def remove(client: ApiClient, document: Document, dry_run: bool) -> Outcome:
    before = client.find(document.path)
    if before is None:
        return Outcome(document, None, None, 0, False)
    try:
        answer = client.delete(document.path, dry_run)
    except ApiError as error:
        if error.status == 404:
            return Outcome(document, None, None, 0, False)
        raise ApiError("%s: %s" % (document.label, error.message), error.status, error.reason) from error
    return Outcome(document, before, None, answer.revision, True)


def carry_out(client: ApiClient, module: AnsibleModule, documents: list[Document]) -> list[Outcome]:
    if module.params["state"] == "absent":
        return [remove(client, document, module.check_mode) for document in documents]
    if len(documents) > 1 and not module.check_mode:
        check(client, documents)
    return [store(client, document, module._diff, module.check_mode) for document in documents]


def false_conditions(outcome: Outcome, *types: str) -> list[dict[str, t.Any]]:
    """Those of these types that don't hold for what is stored."""
    conditions = ((outcome.after or {}).get("status") or {}).get("conditions") or []
    return [condition for condition in conditions if condition.get("type") in types and condition.get("status") == "False"]


def standing_refusals(outcomes: list[Outcome]) -> list[dict[str, t.Any]]:
    """Of documents that were stored by an earlier run already and that a proxy refuses: their conditions say so."""
    found = []
    for outcome in outcomes:
        for condition in false_conditions(outcome, "Programmed"):
            if condition.get("reason") == "RefusedByProxy" and not outcome.changed:
                found.append({"message": condition.get("message") or "", "label": outcome.document.label})
    return found


def look_again(client: ApiClient, outcomes: list[Outcome]) -> list[Outcome]:
    """What changed, as it is now that the proxies have answered: documents stored together may refer to each other."""
    return [one._replace(after=client.find(one.document.path) or one.after) if one.after and one.changed else one for one in outcomes]


def warnings(outcomes: list[Outcome]) -> list[str]:
    """What is stored and yet leads nowhere: a host or subset that is not there, a document that another one stands before."""
    return [
        "%s: %s" % (outcome.document.label, condition.get("message") or condition.get("reason"))
        for outcome in outcomes
        for condition in false_conditions(outcome, "Accepted", "ResolvedRefs")
    ]


def wait(client: ApiClient, module: AnsibleModule, outcomes: list[Outcome], result: dict[str, t.Any]) -> None:
    """Adds `rollout`, and what makes the task fail."""
    rollout = wait_for_rollouts(client, [one.revision for one in outcomes if one.revision], module.params["wait_timeout"])
    result["rollout"] = rollout
    standing = standing_refusals(outcomes)
    if rollout["rejections"]:
        result.update(failed=True, reason="RefusedByProxy", msg=refusal(rollout["rejections"]))
    elif standing:
        result.update(failed=True, reason="RefusedByProxy", msg="; ".join("%(label)s: %(message)s" % one for one in standing))
    elif rollout["state"] == "pending":
        pending = rollout["proxies"]["pending"]
        shown = ", ".join(pending[:10]) + (" and %d more" % (len(pending) - 10) if len(pending) > 10 else "")
        result.update(
            failed=True, reason="Timeout", msg="after %d s these proxies have not answered: %s" % (module.params["wait_timeout"], shown)
        )


def apply(client: ApiClient, module: AnsibleModule) -> dict[str, t.Any]:
    documents = given_documents(module)
    outcomes = carry_out(client, module, documents)
    waited: dict[str, t.Any] = {}
    if module.params["wait"] and not module.check_mode:
        wait(client, module, outcomes, waited)
        outcomes = look_again(client, outcomes)
    # In check mode one of several documents does not know of the others yet.
    for warning in warnings(outcomes) if len(documents) == 1 or not module.check_mode else []:
        module.warn(warning)
    result: dict[str, t.Any] = {
        "changed": any(outcome.changed for outcome in outcomes),
        "revision": max([outcome.revision for outcome in outcomes], default=0),
        "resources": [outcome.after or outcome.before for outcome in outcomes if outcome.after or outcome.before],
    }
    if module._diff:
        result["diff"] = [
            text_diff(outcome.document.label, user_part(outcome.before), user_part(outcome.after))
            for outcome in outcomes
            if outcome.changed
        ]
    return {**result, **waited}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            definition={"type": "raw"},
            src={"type": "path"},
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            wait={"type": "bool", "default": True},
            wait_for={"type": "str", "choices": ["acked"], "default": "acked"},
            wait_timeout={"type": "int", "default": 60},
            **control_plane_options(),
        ),
        mutually_exclusive=[("definition", "src")],
        required_one_of=[("definition", "src")],
        supports_check_mode=True,
    )
    run(module, lambda client: apply(client, module))


if __name__ == "__main__":
    main()
