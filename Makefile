# `make train` and `make test` need Python 3.11 or newer and make; .venv is made when it is missing.
PYTHON ?= python3
# Another Python gets its own environment beside the usual one.
VENV ?= $(if $(filter python3,$(PYTHON)),.venv,.venv-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
# Versions tested on Python 3.11; other Pythons resolve their own.
CONSTRAINTS := $(shell $(PYTHON) -c 'import sys; print("-c constraints.txt" if sys.version_info[:2] == (3, 11) else "")')

INSTALL := $(BIN)/python -m pip install --quiet $(CONSTRAINTS) --editable

.NOTPARALLEL: # two installations at a time would be in each other's way

.PHONY: help venv train test test-all lint fonts docs dist

help:
	@echo "make venv      set up $(VENV)"
	@echo "make train     train the quickstart experiment into runs/quickstart"
	@echo "make test      the core tests"
	@echo "make test-all  the slow tests, too"
	@echo "make lint      formatting, lint and types"
	@echo "make docs      the documentation, into build/docs"
	@echo "make dist      source archive and wheel, into dist/"
	@echo "make fonts     free fonts of Debian, installed and drawn into build/fonts.npz (root)"

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) .
	@touch $@

# At once, not on top of the other: packages are looked up once.
$(VENV)/.ready-dev: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) '.[dev]'
	@touch $(VENV)/.ready $@

train: $(VENV)/.ready
	$(BIN)/python -m crnn_jax.main --config=quickstart --workdir=runs/quickstart

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist=worksteal -m "not slow"

test-all: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist=worksteal

lint: $(VENV)/.ready-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

FONTS := experiments/fonts_debian.txt
TAB := $(shell printf '\t')
ATLAS := $(BIN)/python -m crnn_jax.synth.atlas

fonts: $(VENV)/.ready
	@command -v apt-get dpkg > /dev/null || { echo "make fonts needs Debian or Ubuntu (apt-get);" \
		"elsewhere: $(ATLAS) --fonts=FOLDER --out=build/fonts.npz" >&2; exit 1; }
	@mkdir -p build
	@grep -v '^#' $(FONTS) | cut -f1 | sort > build/wanted.txt
	@dpkg-query -W -f='$${db:Status-Abbrev}$${Package}\n' | sed -n 's/^ii *//p' | sort > build/installed.txt
	@missing=$$(comm -23 build/wanted.txt build/installed.txt); test -z "$$missing" || { \
		test "$$(id -u)" = 0 || { echo "make fonts installs packages: run it as root" >&2; exit 1; }; \
		apt-get update -qq && apt-cache pkgnames | sort > build/known.txt && \
		comm -23 build/wanted.txt build/known.txt | sed 's/$$/: not in this release, left out/' >&2 && \
		comm -12 build/wanted.txt build/known.txt | DEBIAN_FRONTEND=noninteractive \
			xargs apt-get install --yes --quiet --no-install-recommends; }
	@grep -v '^#' $(FONTS) | while IFS='$(TAB)' read -r package licence style keep; do \
		case $$style in script* | display* | led*) tag=$${style%%,*} ;; *) tag= ;; esac; \
		dpkg -L $$package 2> /dev/null | grep -iE '\.(ttf|otf|ttc)$$' | grep -E -e "$${keep:-.}" | \
			sed "s/$$/$(TAB)$$tag/"; done > build/fonts.txt
	$(ATLAS) --fonts=build/fonts.txt --charset=latin94+space --out=build/fonts.npz

# Afresh each time: pages of an earlier build are not looked at again, whatever their docstrings say.
docs: $(VENV)/.ready
	$(INSTALL) '.[docs]'
	$(BIN)/python -m sphinx --fresh-env -W --keep-going --quiet -b html docs build/docs
	@echo "build/docs/index.html"

dist: $(VENV)/.ready-dev
	$(BIN)/python -m build --outdir dist .
