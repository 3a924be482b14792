# `make compare` and `make test` set everything up by themselves; the rest is for contributors.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := sweeper pytorch lightning keras tensorflow jax
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup compare test test-slow lint test-fast test-system faults pictures browser benchmark measured docs clean fuzz load

help:
	@echo "make compare      the quickstart: one CNN in seven engines, three seeds, and the comparison"
	@echo "make test         lint, types and tests; Python packages alone"
	@echo "make test-slow    the rest of the conformance suite, and every command of the docs"
	@echo "make test-system  what needs packages of the operating system; Debian, as root"
	@echo "make faults       every fault in every phase of a run, into docs/reliability.md"
	@echo "make pictures     the pictures in docs/images, from a real sweep; Debian, as root"
	@echo "make benchmark    the overhead of every engine, into docs/benchmarks.md"
	@echo "make measured     real sweeps and simulations of the verdicts; a quiet machine, half an hour"
	@echo "make fuzz         10,000 random inputs and more: options, files, arrays, command lines"
	@echo "make load         a sweep of 1,000 short runs: memory, cost a cell, answers after it"
	@echo "make docs         the reference of options, into docs/reference/options.md"
	@echo "make clean        remove the environment and caches"

setup: $(READY)

$(READY): constraints.txt pyproject.toml $(wildcard plugins/*/pyproject.toml)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip "setuptools>=77" torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
	  --editable ".[test,lint]" $(foreach plugin,$(PLUGINS),--editable plugins/$(plugin))
	@touch $@

compare: setup
	$(BIN)/fwcompare experiment=quickstart

test: lint
	$(BIN)/python -m pytest -m "not system and not slow" --numprocesses 2 --dist loadfile --durations=15

test-slow: setup
	$(BIN)/python -m pytest -m "slow and not system" --numprocesses 2 --dist loadfile

test-fast: setup
	$(BIN)/python -m pytest -m "not system" tests/core

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-system: browser
	$(BIN)/python -m pytest -m system

faults: setup
	$(BIN)/python tests/faults/matrix.py

pictures: browser
	$(BIN)/python -m pytest -m system tests/system/test_mlflow_pages.py \
	  tests/system/test_report_page.py --pictures docs/images

browser: setup
	tests/system/install-debian-packages
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test-system]"

benchmark: setup
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/building.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/page.py

measured: setup
	$(BIN)/python benchmarks/measured.py
	$(BIN)/python benchmarks/simulations.py

fuzz: setup
	FWCOMPARE_LONG=1 $(BIN)/python -m pytest tests/fuzz --numprocesses 2 --timeout 7200

load: setup
	$(BIN)/python benchmarks/load.py

docs: setup
	$(BIN)/python docs/generate_options.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
