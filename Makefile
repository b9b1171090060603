# `make demo` and `make test` need Python 3.11 or newer, git and make; everything else they install into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REMOTE ?=
NATIVE := $(wildcard graft_sqlite_vfs/native/*.[ch])
# Parallel test processes; the suite is mostly waiting for servers and disks.
TEST_JOBS ?= 4

.PHONY: demo test test-long test-sanitized test-debian lint reference format bench minio browser clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo [REMOTE=s3://bucket/prefix]  run the main job end to end"
	@echo "make test                              run the tests"
	@echo "make test-long                         run the tests that take minutes too"
	@echo "make test-sanitized                    run the VFS tests on an accelerator built with sanitizers"
	@echo "make test-debian                       open volumes in the sqlite3 module of Debian's Python"
	@echo "make lint                              run every linter, as CI and pre-commit do"
	@echo "make reference                         write the reference pages that come from docstrings"
	@echo "make browser                           install Chromium, clang and npm packages, so that tests run in a browser"
	@echo "make minio                             build MinIO into .cache/bin (needs Go), so that tests run against it"

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON) (Python 3.11 or newer); set PYTHON=/path/to/python3"; exit 1; }
	@command -v git >/dev/null || { echo "missing: git"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "missing: Python 3.11 or newer ($(PYTHON) is `$(PYTHON) --version 2>&1`); set PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { echo "missing: Python's venv module (on Debian: apt-get install python3-venv)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

# The accelerator is built by the way, where there is a compiler; without one everything works, only slower.
$(VENV)/.demo: pyproject.toml setup.py $(NATIVE) $(VENV)/.python
	$(BIN)/python -m pip install -qq --editable . --group demo
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --group test
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

demo: $(VENV)/.demo
	@$(BIN)/python -m examples.demo $(if $(REMOTE),--remote $(REMOTE))

test: $(VENV)/.test
	$(BIN)/python -m pytest -n $(TEST_JOBS) -m 'not long' $(ARGS)

test-long: $(VENV)/.test
	$(BIN)/python -m pytest -n $(TEST_JOBS) $(ARGS)

test-sanitized: $(VENV)/.test
	scripts/test-sanitized $(BIN)/python -n $(TEST_JOBS) -m 'not long' -k 'not pure' tests/graft_sqlite_vfs $(ARGS)

test-debian:
	scripts/test-debian-python $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

reference: $(VENV)/.test
	$(BIN)/python scripts/reference

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

minio:
	scripts/build-minio

browser:
	scripts/install-browser

clean:
	rm -rf $(VENV) .cache build dist *.egg-info
