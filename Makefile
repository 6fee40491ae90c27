# SPDX-License-Identifier: Apache-2.0
# Everything starts here; `make` alone says what there is. Needs Python 3.11 as `python3`; the rest is fetched.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help venv check lint test demo golden bench proof clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY)  ## .venv with everything of requirements/dev.txt (by hash) and the `meshwright` command
$(READY): requirements/dev.txt pyproject.toml .ci/venv.sh
	@sh .ci/venv.sh $(PYTHON) $(VENV)
	@touch $@

check: $(READY)  ## style, types, layers, unit and golden tests: under 3 minutes, offline
	@$(PY) -m tests.run check

lint: $(READY)  ## style, types, layers, ansible-lint, ansible-test sanity on the built collection
	@$(PY) -m tests.run lint

test: $(READY)  ## everything that this machine can run, with a table at the end (about 20 minutes on two cores)
	@$(PY) -m tests.run all

demo: $(READY)  ## a mesh with real Envoys, shown and measured: on test hosts as root, else (or LOCAL=1) in processes (KEEP=1: leaves it running)
	@$(PY) -m examples.demo $(if $(KEEP),--keep) $(if $(LOCAL),--local)

golden: $(READY)  ## rewrites the golden files (look at the diff)
	@GOLDEN_REWRITE=1 $(PY) -m pytest tests/golden

bench: $(READY)  ## the control plane against fake proxies: times, CPU, memory, bytes (ten minutes; wants a quiet machine)
	@$(PY) -m tests.bench all

proof: $(READY)  ## benchmark, fuzzing, mutation testing, attacks, demo, suites at full length; page in docs/proof (an hour; wants a quiet machine)
	@PROOF=1 $(PY) -m tests.run proof

clean:  ## build output and leftovers of test hosts; not .venv, not the cache
	@if [ -x $(PY) ] && [ "$$(id -u)" = 0 ]; then $(PY) -m tests.lab clean; fi
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
