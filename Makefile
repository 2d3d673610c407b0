# make test | make demo: each does all of its own set-up on a fresh machine.
# Knobs: PYTHON=python3.12  VENV=.venv  TORCH="torch==2.13.0"  TORCH_INDEX=URL
#        ARGS="--quick" (to the demo)  PYTEST_ARGS="-k minimizer"
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The first interpreter on the path that is new, and old, enough.
find_python = for p in $(PYTHON) python3 python3.12 python3.13 python3.11; do \
	if "$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	>/dev/null 2>&1; then echo "$$p"; exit 0; fi; done; \
	echo "openmm-backmap needs Python 3.11, 3.12 or 3.13: install one, or give" \
	"its name (make PYTHON=/path/to/python3.12 ...)" >&2; exit 1

# Without an NVIDIA GPU one fixed version is asked for, because "2.13.0" also
# matches "2.13.0+cpu" and pip prefers that small CPU build wherever it is on
# offer: in a wheel folder, in an index that pip is set up with, or in
# TORCH_INDEX (the "CPU" index that the torch installation page names). Where
# only the default build is on offer it is taken: larger, it works as well.
# With a GPU, or where that version is not to be had, setup.py's bound rules.
TORCH ?= torch==2.13.0
pip_torch = $(BIN)/python -m pip install $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))

# A process a core, up to four; a file's tests stay together. None: PYTEST_SPREAD=
PYTEST_SPREAD ?= -n auto --maxprocesses 4 --dist loadfile

.PHONY: help install test lint demo demo-quick clean

help:
	@echo "make test         install what is missing, then run the tests"
	@echo "make demo         install what is missing, then backmap a running simulation"
	@echo "make demo-quick   the same, shorter"
	@echo "make lint         ruff"
	@echo "make clean        remove the virtual environment and caches"

install: $(STAMP)

# The stamp makes a second run quick: only a new setup.py installs again.
$(STAMP): setup.py
	@python="$$($(find_python))"; \
	if [ ! -x $(BIN)/python ]; then \
	echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV); fi
	@if nvidia-smi -L >/dev/null 2>&1; then \
	echo "NVIDIA GPU found: default torch"; $(pip_torch) "torch>=2.5"; \
	else echo "No NVIDIA GPU: CPU build of torch where pip offers one"; \
	$(pip_torch) "$(TORCH)" || $(pip_torch) "torch>=2.5"; fi
	$(BIN)/python -m pip install --editable ".[plots,train,cluster,examples,test]"
	@touch $@

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_SPREAD) $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .

demo: $(STAMP)
	$(BIN)/openmm-backmap demo $(ARGS)

demo-quick: $(STAMP)
	$(BIN)/openmm-backmap demo --quick $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache
