# Everything runs in a virtual environment, .venv, that the first target to need it makes.

.DEFAULT_GOAL := help
.PHONY: help demo test check lint campaign docs clean

VENV ?= .venv
BIN := $(VENV)/bin
# The first of these that is Python 3.11, 3.12 or 3.13 makes it: `make test PYTHON=python3.12`.
PYTHON ?= python3 python3.11 python3.12 python3.13
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check
# Processes that test, each with one thread: `make test WORKERS=8`.
WORKERS ?= 2
# What a campaign spends: `make campaign MINUTES=60`.
MINUTES ?= 10

help:  ## say what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed  ## simulate a scene, train a small model, map it, score it, report
	@$(BIN)/bandweave demo

# Types are checked while tests run. Byte code is kept, whatever the shell says: tests start the
# command in many processes.
test: lint  ## style, types, import directions, and all tests
	@$(BIN)/mypy & \
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist worksteal; \
	tested=$$?; wait $$! && exit $$tested

check: lint  ## style, types and import directions alone
	@$(BIN)/mypy

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/lint-imports --no-logo

campaign: $(VENV)/.installed-test  ## kills and damaged inputs at random; MINUTES=60
	@$(BIN)/python -m tests.campaigns --minutes $(MINUTES)

docs: $(VENV)/.installed-docs  ## build these pages into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html"

clean:  ## remove the environment, caches and what was built
	rm -rf $(VENV) site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp stands for an installation, which is done again when what is asked for changes.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing bandweave into $(VENV)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing bandweave[$*] into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[$*]'
	@touch $(VENV)/.installed $@

$(BIN)/python:
	@for python in $(PYTHON); do \
	  if $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "none of '$(PYTHON)' is Python 3.11, 3.12 or 3.13; install one, or name it: make PYTHON=…" >&2; \
	  exit 1; \
	fi; \
	echo "making $(VENV) with $$($$found --version)"; \
	$$found -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
