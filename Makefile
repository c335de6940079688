# All tasks of a checkout. They need only Python 3.11 or later, make and git. `make help` lists them.

.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin
# Arguments of a command: make demo ARGS="bananas --json", make test ARGS="tests/unit -k joiner".
ARGS ?=
# Tests at a time.
JOBS ?= 4
# Tests start processes by the hundred. Compile their imports once, even if the environment forbids bytecode.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo test lint docs faults bench peers lock clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile | expand -t 10

install: .venv/kafka.stamp  ## set up .venv, and download Kafka's jars

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

# Your own Kafka needs no jars. Without a network, this step says so, and the next make tries again.
.venv/kafka.stamp: .venv/millstream.stamp millstream/embedded_kafka/kafka.lock
	@if $(BIN)/python -m millstream.embedded_kafka.prefetch; then touch $@; fi

# Searches on a cluster of Ray are tested by make faults alone. What the lock has stays as it is.
.venv/ray.stamp: .venv/kafka.stamp
	@sed 's/ *\\$$//; /^ *#/d; /--hash/d' requirements/install.lock > .venv/constraints.txt
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .venv/constraints.txt 'ray[client]>=2.40'; \
	then touch $@; else echo "Ray could not be installed: its tests are skipped" >&2; fi

demo: install  ## show a model learning from a data stream on a real Kafka; ARGS="bananas --json"
	@$(BIN)/millstream demo $(ARGS)

test: install  ## run all tests; ARGS="tests/unit -k joiner", JOBS=1
	@$(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS) || test $$? -eq 5

lint: install  ## run ruff, mypy and import-linter
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: install  ## write docs/reference from the code
	@$(BIN)/python docs/generate.py

# Two tests on two cores: each keeps one core busy, and beside three of them Kafka does not answer in time.
faults: JOBS = 2
faults: .venv/ray.stamp  ## fault tests in full size, with both Kafka clients; about 6 hours, on an otherwise idle machine
	@$(BIN)/pytest --faults -o timeout=7200 -n $(JOBS) --dist worksteal $(ARGS) || test $$? -eq 5

bench: install  ## run the benchmarks; the table is in docs/benchmarks.md
	@$(BIN)/python -m benchmarks $(ARGS)

# Their requirements conflict with ours, so they get an environment of their own, with the same Python.
peers: .venv/python.stamp  ## set up .venv-peers (Quix Streams, FastAPI) and .venv-evidently, for the benchmarks that compare with them
	@$$($(BIN)/python -c 'import sys; print(sys._base_executable)') -m venv .venv-peers
	@.venv-peers/bin/pip install --quiet 'quixstreams>=3.28,<4' 'river>=0.26.1,<0.27' 'fastavro>=1.13' \
	    'fastapi>=0.165' 'uvicorn[standard]>=0.54'
	@$$($(BIN)/python -c 'import sys; print(sys._base_executable)') -m venv .venv-evidently
	@.venv-evidently/bin/pip install --quiet 'evidently>=0.7.23,<0.8' 'pandas>=2,<3'

# The lock files name no addresses: configure a mirror in pip, if you use one.
LOCK = $(BIN)/python -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header pyproject.toml requirements/build.in

# All extras but ray, which make faults installs beside the lock.
LOCKED = batch broker dask fast http lint objects onnx otel pandas plot test

lock: install  ## update requirements/*.lock and the list of Kafka's jars
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(LOCK) $(LOCKED:%=--extra %) --output-file requirements/install.lock
	@$(LOCK) --extra fast --extra http --extra objects --extra batch --extra onnx --extra otel --output-file requirements/runtime.lock
	@$(BIN)/python -m millstream.embedded_kafka.jars

clean:  ## remove everything that make created
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
