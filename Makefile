# Everything a checkout needs, from Python 3.11 or later, make and git alone. `make help` lists it.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
# What follows a command: make demo ARGS="bananas --json", make test ARGS="tests/unit -k joiner".
ARGS ?=
# Tests at a time.
JOBS ?= 4
# Processes are started by the hundred: what they import is compiled once, also where the environment would not have it.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test lint docs faults bench lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile | expand -t 10

install: .venv/kafka.stamp  ## set up .venv, and fetch Kafka's jars

.venv/python.stamp:
	@python=; for candidate in python3.11 python3.12 python3 python; do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "Millstream needs Python 3.11 or later; none is on the PATH. Install it, then run make install again." >&2; exit 1; \
	fi; \
	echo "setting up .venv with $$($$python --version); this takes about a minute, once"; \
	$$python -m venv .venv || { \
	    echo "$$python cannot make virtual environments; on Debian and Ubuntu install python3-venv." >&2; exit 1; }
	@touch $@

.venv/packages.stamp: .venv/python.stamp requirements/install.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/install.lock
	@touch $@

.venv/millstream.stamp: .venv/packages.stamp pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# Who has a Kafka of their own needs no jars: without a network this says so and is tried again next time.
.venv/kafka.stamp: .venv/millstream.stamp millstream/embedded_kafka/kafka.lock
	@if $(BIN)/python -m millstream.embedded_kafka.prefetch; then touch $@; fi

demo: install  ## a real model learning from a real stream through a real Kafka; ARGS="bananas --json"
	@$(BIN)/millstream demo $(ARGS)

test: install  ## all tests; ARGS="tests/unit -k joiner", JOBS=1
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS) || test $$? -eq 5

lint: install  ## ruff, mypy and the direction of imports
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: install  ## write docs/reference from the code
	@$(BIN)/python docs/generate.py

# Two on two cores: each keeps one busy, and beside three of them Kafka does not answer in time.
faults: JOBS = 2
faults: install  ## the fault tests in their full size; about 3 hours, on a machine that does nothing else
	@$(BIN)/pytest --faults -n $(JOBS) --dist worksteal $(ARGS) || test $$? -eq 5

bench: install  ## measure; the table is in docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

# The lock files name no addresses: a mirror, where there is one, is set up for pip.
LOCK = $(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header pyproject.toml requirements/build.in

lock: install  ## choose all versions anew: requirements/*.lock and Kafka's jars
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCK) --all-extras --output-file requirements/install.lock
	@$(LOCK) --output-file requirements/runtime.lock
	@$(BIN)/python -m millstream.embedded_kafka.jars

clean:  ## remove all that was made here
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
