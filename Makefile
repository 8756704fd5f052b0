# `make train` and `make test` need Python 3.11 or newer and make; .venv is made when it is missing.
PYTHON ?= python3
# Another Python gets its own environment beside the usual one.
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# Versions tested on Python 3.11; other Pythons resolve their own.
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info[:2] == (3, 11) else "")')

.PHONY: help venv train test test-all lint

help:
	@echo "make venv      set up $(VENV)"
	@echo "make train     train the quickstart experiment into runs/quickstart"
	@echo "make test      the core tests"
	@echo "make test-all  the slow tests, too"
	@echo "make lint      formatting and lint"

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable .
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

train: $(VENV)/.ready
	$(BIN)/python -m crnn_jax.main --config=quickstart --workdir=runs/quickstart

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-all: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
