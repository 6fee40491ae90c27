# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.mutation [--of PART] [--mutants N] [--seed S]`: would the tests notice? Changes the core here and there (mutmut; each
mutant judged by the unit tests of its part that reach it), N mutants chosen by the seed, the parts by their size. Prints those that no
test noticed, with file and line, and the score: noticed of those that a test reaches. Exit status 1 below BOUND.

Works in copies of the tree, build/mutation/PART. Texts for people are not changed: their wording is free."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.mutation.mutants import Mutant, found

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "mutation"
MUTMUT = Path(sys.executable).parent / "mutmut"
COPIED = ("src", "tests", "plugins", "roles", "README.md", "pyproject.toml")
BOUND = 0.70
SURVIVED, UNREACHED = 0, 33


class Part(NamedTuple):
    """`sources` are mutated, `tests` judge."""

    name: str
    sources: tuple[str, ...]
    tests: tuple[str, ...]


PARTS = (
    Part("model", ("model/*",), ("tests/unit/model",)),
    Part("translate", ("translate/*",), ("tests/unit/translate",)),
    Part("subscription", ("xds/subscription.py",), ("tests/unit/xds",)),
    Part("rollout", ("control/rollout.py",), ("tests/unit/control",)),
    Part("session", ("agent/session.py",), ("tests/unit/agent",)),
    Part("identity", ("ca/issue.py", "ca/attest/*"), ("tests/unit/ca",)),
)
# Of a server that has run no test: a memo that is full already would hide the mutant from them.
CONFIG = """
[tool.mutmut]
source_paths = ["src/meshwright"]
only_mutate = [{sources}]
also_copy = ["plugins", "roles", "README.md"]
pytest_add_cli_args_test_selection = [{tests}]
process_isolation = "forkserver"
timeout_multiplier = 5.0
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not envoy and not hosts"]
"""


def make(part: Part) -> Path:
    """A copy of the tree with all mutants of the part made, none of them tried."""
    tree = OUTPUT / part.name
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    sources = ", ".join(f'"src/meshwright/{one}"' for one in part.sources)
    tests = ", ".join(f'"{one}"' for one in part.tests)
    with (tree / "pyproject.toml").open("a") as config:
        config.write(CONFIG.format(sources=sources, tests=tests))
    _mutmut(tree, "nothing-of-this-name")
    return tree


def _mutmut(tree: Path, *names: str) -> None:
    """mutmut's own figures go into a log; what counts is read from its files."""
    env = os.environ | {"PYTHONPATH": ".", "HYPOTHESIS_STORAGE_DIRECTORY": str(tree / ".hypothesis"), "PYTHONHASHSEED": "0"}
    with (tree / "log").open("ab") as log:
        subprocess.run([MUTMUT, "run", "--max-children", "2", *names], cwd=tree, env=env, stdout=log, stderr=log, check=False)


def choose(trees: dict[str, Path], count: int, seed: int) -> dict[str, list[str]]:
    """Part -> names of mutants to try; `count` in all, from each as many as it has of the whole."""
    all_ = [(part, mutant.name) for part, tree in trees.items() for mutant in found(tree) if not mutant.wording]
    chosen = random.Random(seed).sample(all_, min(count, len(all_)))
    print(f"{len(chosen)} of {len(all_)} mutants, seed {seed}", flush=True)
    return {part: [name for home, name in chosen if home == part] for part in trees}


def judge(part: str, tree: Path, names: list[str]) -> list[Mutant]:
    """Tries them; prints what was not noticed."""
    if not names:
        return []
    _mutmut(tree, *names)
    wanted = frozenset(names)
    tried = [mutant for mutant in found(tree) if mutant.name in wanted]
    untried = [mutant.name for mutant in tried if mutant.status is None]
    if untried:
        raise SystemExit(f"{part}: {len(untried)} mutants were not tried; see {tree / 'log'}")
    for mutant in sorted(tried, key=lambda one: (one.file, one.line)):
        if mutant.status == SURVIVED:
            print(f"  {mutant.file}:{mutant.line}: {mutant.before}  ->  {mutant.after}")
    print(f"{part:14} {figures(tried)}", flush=True)
    return tried


def figures(tried: list[Mutant]) -> str:
    reached = [mutant for mutant in tried if mutant.status != UNREACHED]
    noticed = sum(mutant.status != SURVIVED for mutant in reached)
    share = f"{100 * score(tried):.0f} %" if reached else "-"
    return f"{noticed} of {len(reached)} noticed ({share}); {len(tried) - len(reached)} in functions that no test of the part calls"


def score(tried: list[Mutant]) -> float:
    reached = [mutant for mutant in tried if mutant.status != UNREACHED]
    return sum(mutant.status != SURVIVED for mutant in reached) / max(1, len(reached))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", choices=[part.name for part in PARTS])
    parser.add_argument("--mutants", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    trees = {part.name: make(part) for part in PARTS if args.of in (None, part.name)}
    tried: list[Mutant] = []
    for part, names in choose(trees, args.mutants, args.seed).items():
        tried += judge(part, trees[part], names)
    print(f"mutation score {100 * score(tried):.1f} % (bound {100 * BOUND:.0f} %): {figures(tried)}", flush=True)
    return 0 if score(tried) >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
