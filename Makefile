# yaongi: `make quickstart` makes everything, `make test` checks it. `make` alone lists the rest.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

VENV ?= .venv
MINUTES ?= 10
BIN := $(VENV)/bin
# The first that runs and that every pinned package has wheels for; `make PYTHON=... test` decides.
ifndef PYTHON
PYTHON := $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; exit; }; done)
endif
# Linux without an NVIDIA card needs no CUDA libraries (gigabytes); an index of yours comes first.
CPU_ONLY = $(shell [ "$$(uname)" = Linux ] && ! command -v nvidia-smi >/dev/null \
	&& ! $(or $(PYTHON),false) -m pip config list 2>/dev/null | grep -qE 'find-links|index-url' \
	&& [ -z "$$PIP_FIND_LINKS$$PIP_INDEX_URL$$PIP_EXTRA_INDEX_URL" ] \
	&& echo --extra-index-url https://download.pytorch.org/whl/cpu)
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n : 4)))
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --hypothesis-profile=steady

.PHONY: help quickstart install dev test lint bench docs i18n constraints clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

quickstart: install  ## install, then go the whole road on the embedded corpus (MINUTES=10)
	$(BIN)/yaongi quickstart --minutes $(MINUTES)

install: $(VENV)/.installed  ## make .venv with what yaongi needs

dev: $(VENV)/.installed-dev  ## make .venv with what tests, docs and benchmarks need

test: dev lint  ## all checks and tests
	$(PYTEST) -n $(JOBS) -m "not serial"
	$(PYTEST) -m serial || [ $$? -eq 5 ]  # 5: there are none

lint: dev  ## style, types, layering
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

bench: dev  ## measure speed, the corpus, and with YAONGI_DATA set the real-text runs (hours)
	$(BIN)/python bench/train.py
	$(BIN)/python bench/engine.py --again
	$(BIN)/python bench/cpu.py --again
	$(BIN)/python bench/synthetic_entropy.py
	$(BIN)/python bench/pii.py --out bench/results/pii_after.json  # pii.json is the blind run
	[ -z "$$YAONGI_DATA" ] || $(BIN)/python bench/filters.py
	[ -z "$$YAONGI_DATA" ] || $(BIN)/python bench/cleaning.py
	[ -z "$$YAONGI_DATA" ] || $(BIN)/python bench/dedup.py
	[ -z "$$YAONGI_DATA" ] || $(BIN)/python bench/real_text.py

docs: dev  ## the documentation as web pages in build/docs, links checked
	$(BIN)/python tools/website.py build/docs

i18n: dev  ## collect messages, update the Korean catalogue, compile it
	$(BIN)/python tools/i18n.py

constraints:  ## pin the newest versions of everything, to be tested and committed
	$(PYTHON) -m venv --clear build/pins
	build/pins/bin/python -m pip install -qq $(CPU_ONLY) '.[dev]'
	{ sed -n '/^#/p' constraints.txt; build/pins/bin/python -m pip freeze --exclude yaongi \
		| sed 's/+.*//' | grep -viE '^(nvidia|cuda|triton)'; } > build/constraints.txt
	mv build/constraints.txt constraints.txt

clean:  ## remove the environment and caches; runs stay
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "yaongi needs Python 3.11 or newer; found: $$(python3 --version \
		2>&1 || echo none). Install one (https://www.python.org/downloads), or name it: \
	make PYTHON=/path/to/python3.12 quickstart" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "yaongi needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version)." >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing yaongi (the first time a few minutes) ..."
	@$(PIP) install $(CPU_ONLY) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing yaongi and its tests (the first time a few minutes) ..."
	@$(PIP) install $(CPU_ONLY) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.installed
