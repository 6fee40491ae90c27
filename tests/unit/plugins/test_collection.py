# SPDX-License-Identifier: Apache-2.0
"""What the collection says of itself agrees with itself and with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_collection_and_package_are_of_one_version() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert load("galaxy.yml")["version"] == package
    assert load("roles/service/vars/main.yml")["meshwright_version"] == package


def test_every_module_is_in_the_action_group_and_says_its_attributes() -> None:
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    assert load("meta/runtime.yml")["action_groups"]["control_plane"] == modules
    read_only = re.findall(r'INFO = r"""(.*?)"""', (ROOT / "plugins" / "doc_fragments" / "attributes.py").read_text(), re.DOTALL)[0]
    fragment = yaml.safe_load(read_only)["attributes"]
    for module in modules:
        text = (ROOT / "plugins" / "modules" / f"{module}.py").read_text()
        documented = yaml.safe_load(re.findall(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL)[0])
        said = documented.get("attributes") or fragment
        assert (said is fragment) == ("meshwright.mesh.attributes.info" in documented["extends_documentation_fragment"]), module
        assert said.keys() == {"check_mode", "diff_mode", "idempotent"}
        assert said["check_mode"]["support"] == "full"


def test_every_variable_of_a_role_is_documented() -> None:
    for role in ("control_plane", "sidecar", "service"):
        specs = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
        documented = {name for spec in specs.values() for name in spec.get("options", {})}
        given = load(f"roles/{role}/defaults/main.yml")
        # Made of others, not meant to be set.
        assert set(given) - documented <= {"meshwright_control_plane_authority"}, role
        for spec in specs.values():
            for name, option in spec.get("options", {}).items():
                if "default" in option and name in given:
                    assert option["default"] == given[name], f"{role}: {name}"


def test_documented_options_of_modules_have_defaults_as_in_the_action() -> None:
    text = (ROOT / "plugins" / "modules" / "node.py").read_text()
    suboptions = yaml.safe_load(re.findall(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL)[0])["options"]["workloads"]["suboptions"]
    action = (ROOT / "plugins" / "action" / "node.py").read_text()
    workload: dict[str, dict[str, Any]] = eval(re.findall(r"^WORKLOAD = (\{.*?^\})", action, re.DOTALL | re.MULTILINE)[0])
    assert suboptions.keys() == workload.keys()
    for name, option in workload.items():
        said = {key: value for key, value in suboptions[name].items() if key != "description"}
        assert said == option, name


def test_every_file_has_a_licence_header() -> None:
    for top in ("plugins", "roles", "playbooks", "meta", "changelogs"):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".yml", ".yaml", ".txt") and "__pycache__" not in path.parts and path.parent.name != "files":
                head = path.read_text()[:600]
                wanted = "GPL-3.0-or-later" if top == "plugins" else "Apache-2.0"
                assert f"SPDX-License-Identifier: {wanted}" in head or path.name == "changelog.yaml", path


def test_booleans_from_the_command_line_are_converted() -> None:
    """`-e NAME=false` gives the text "false", which Ansible takes for no condition."""
    for role in ("control_plane", "sidecar"):
        options = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]
        booleans = {name for spec in options.values() for name, option in spec["options"].items() if option["type"] == "bool"}
        assert booleans, role
        for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
            bare = re.findall(rf"\b(?:{'|'.join(booleans)})\b(?! \| bool).*", path.read_text())
            assert bare == [], path
