# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from meshwright.config import Limits, Settings, load, parse
from meshwright.errors import ConfigError

ALL = """\
trust_domain = "example.org"
domain = "mesh.example.org"
root_namespace = "root"
data_dir = "/srv/meshwright"
api_bind = "192.0.2.7"
api_port = 8443
discovery_bind = "[2001:db8::7]"
discovery_port = 8444
server_names = ["mesh.example.org", "192.0.2.7", "192.0.2.7", "2001:db8::7"]
svid_ttl = "1h30m"
hold_off = "100ms"
hold_off_max = "2s"
log_level = "debug"
[limits]
body_bytes = 2000
reads_per_second = 5
"""


def test_nothing_said_is_the_defaults() -> None:
    assert parse("", "x") == Settings()


def test_everything_said() -> None:
    assert parse(ALL, "x") == Settings(
        trust_domain="example.org",
        domain="mesh.example.org",
        root_namespace="root",
        data_dir=Path("/srv/meshwright"),
        api_bind="192.0.2.7",
        api_port=8443,
        discovery_bind="[2001:db8::7]",
        discovery_port=8444,
        server_names=("mesh.example.org", "192.0.2.7", "2001:db8::7"),
        svid_ttl=5400.0,
        hold_off=0.1,
        hold_off_max=2.0,
        log_level="debug",
        limits=Limits(body_bytes=2000, reads_per_second=5.0),
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("trust_domian = 'a'", "trust_domian: is not a setting; did you mean trust_domain?"),
        ("colour = 1", "colour: is not a setting; known are: trust_domain"),
        ("[limits]\nbody_byte = 1", "limits.body_byte: is not a setting; did you mean limits.body_bytes?"),
        ("limits = 5", "limits: must be a table"),
        ("trust_domain = 'Example.org'", "trust_domain: must be lower-case"),
        ("trust_domain = 5", "trust_domain: must be a text"),
        ("domain = 'a..b'", "domain: must be a DNS name"),
        ("root_namespace = 'a.b'", "root_namespace: must be a DNS label"),
        ("data_dir = 'here'", "data_dir: must be an absolute path"),
        ("api_bind = 'localhost'", "api_bind: must be an IP address"),
        ("api_port = 70000", "api_port: must be a port"),
        ("api_port = true", "api_port: must be a port"),
        ("api_port = 15012", "discovery_port: is the same as api_port"),
        ("server_names = []", "server_names: must be a list"),
        ("server_names = 'a'", "server_names: must be a list"),
        ("server_names = ['A_B']", "server_names: 'A_B' is neither"),
        ("svid_ttl = 60", "svid_ttl: must be a duration in quotes"),
        ("svid_ttl = '29s'", "svid_ttl: 29s is not between 30s and 720h"),
        ("svid_ttl = 'soon'", "svid_ttl: 'soon' is not a duration"),
        ("hold_off = '2s'", "hold_off: is longer than hold_off_max"),
        ("hold_off_max = '2m'", "hold_off_max: 2m is longer than a minute"),
        ("log_level = 'loud'", "log_level: must be debug"),
        ("[limits]\nwatches = 0", "limits.watches: must be a whole number greater than 0"),
        ("[limits]\nwatches = 1.5", "limits.watches: must be a whole number"),
        ("[limits]\nreads_per_second = 'x'", "limits.reads_per_second: must be a number"),
        ("[limits]\nreads_per_second = nan", "limits.reads_per_second: must be a number"),
        ("a = ", "is not TOML"),
    ],
)
def test_bad_settings(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "FILE")
    assert caught.value.message.startswith(f"FILE: {says}")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "control-plane.toml"
    with pytest.raises(ConfigError, match="there is no such file; write one"):
        load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="can't be read"):
        load(path)
    path.write_text(ALL)
    assert load(path).api_port == 8443


def test_the_example_in_the_reference_is_good() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/settings.md").read_text()
    example = text.partition("```toml\n")[2].partition("```")[0]
    assert parse(example, "docs/reference/settings.md").server_names == ("mesh.example.org", "192.0.2.7")
    for field in (*Settings.__dataclass_fields__, *Limits.__dataclass_fields__):
        assert f"`{field}`" in text, f"docs/reference/settings.md does not say what {field} is"
