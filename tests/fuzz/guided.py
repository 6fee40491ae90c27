# SPDX-License-Identifier: Apache-2.0
"""One target under Atheris: `python -m tests.fuzz.guided TARGET LIBFUZZER_OPTION...`. Its own process, because libFuzzer ends it."""

from __future__ import annotations

import importlib
import sys

import atheris

with atheris.instrument_imports(include=["meshwright", "ruamel"]):
    targets = importlib.import_module("tests.fuzz.targets")

if __name__ == "__main__":
    target = targets.TARGETS[sys.argv[1]]
    options = [f"-max_len={target.longest}", f"-timeout={target.seconds}", "-use_value_profile=1"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[2:]], target.one)
    atheris.Fuzz()
