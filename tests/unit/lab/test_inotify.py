# SPDX-License-Identifier: Apache-2.0
"""The machine's setting is raised while there are labs and is as before after the last."""

from __future__ import annotations

from pathlib import Path

from tests.lab import inotify


def test_raised_and_put_back(tmp_path: Path) -> None:
    setting, state = tmp_path / "setting", tmp_path / "state"
    setting.write_text("128\n")
    (state / "1").mkdir(parents=True)
    inotify.allow(setting, state)
    (state / "2").mkdir()
    inotify.allow(setting, state)
    assert setting.read_text() == str(inotify.ENOUGH)
    (state / "1").rmdir()
    inotify.put_back(setting, state)
    assert setting.read_text() == str(inotify.ENOUGH)  # the second lab is there still
    (state / "2").rmdir()
    inotify.put_back(setting, state)
    assert setting.read_text() == "128"


def test_more_than_enough_is_left_alone(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("65536\n")
    inotify.allow(setting, tmp_path / "state")
    inotify.put_back(setting, tmp_path / "state")
    assert setting.read_text() == "65536\n"


def test_what_somebody_else_has_set_meanwhile_stays(tmp_path: Path) -> None:
    setting = tmp_path / "setting"
    setting.write_text("128\n")
    inotify.allow(setting, tmp_path / "state")
    setting.write_text("1024\n")
    inotify.put_back(setting, tmp_path / "state")
    assert setting.read_text() == "1024\n"


def test_where_it_may_not_be_written_nothing_happens(tmp_path: Path) -> None:
    inotify.allow(tmp_path / "none" / "setting", tmp_path / "state")
    inotify.put_back(tmp_path / "none" / "setting", tmp_path / "state")
    assert not (tmp_path / "none").exists()
