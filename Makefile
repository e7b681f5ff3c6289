SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# One environment for each line of Airflow. Between them they use every supported Python that this machine has: the main one
# prefers the oldest, the others the newest that their Airflow runs on.
VENV := .venv
BIN := $(VENV)/bin
SETUP := pyproject.toml airflow_containers/__init__.py scripts/setup-venv
PYTEST_ARGS ?=

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo "Set PYTHON=/path/to/python to choose the Python, PYTEST_ARGS='-k name' to choose tests."

.PHONY: demo
demo: $(VENV)/.ready ## Run a DAG with real Airflow against the local server, and show what happened
	@$(BIN)/airflow-containers demo

.PHONY: test
test: $(VENV)/.ready ## Run all tests on Airflow 3.3
	$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: test-unit
test-unit: $(VENV)/.ready ## Run the unit tests alone
	$(BIN)/python -m pytest tests/unit $(PYTEST_ARGS)

.PHONY: lint
lint: style types contracts ## Run all static checks

.PHONY: style
style: $(VENV)/.ready ## Check style and format (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(VENV)/.ready ## Check types (mypy --strict)
	$(BIN)/mypy

.PHONY: contracts
contracts: $(VENV)/.ready ## Check who may import whom (import-linter)
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.ready ## Format the code, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: test-airflow-2
test-airflow-2: .venv-2.11/.ready ## Run the unit and integration tests on Airflow 2.11 (Python 3.11 or 3.12)
	.venv-2.11/bin/python -m pytest tests/unit tests/integration $(PYTEST_ARGS)

.PHONY: test-matrix
test-matrix: test-airflow-3.2 test-airflow-3.1 test-airflow-3.0 ## Run them on Airflow 3.2, and what concerns Airflow on 3.0 and 3.1

# These import nothing of Airflow. The lines 3.3, 2.11 and 3.2 run them on Python 3.11, 3.12 and 3.13; once more would show nothing.
FREE_OF_AIRFLOW := tests/unit/api tests/unit/creation tests/unit/local tests/unit/skills \
	$(addprefix tests/integration/,$(addsuffix .py,test_broken_downloads test_broken_uploads test_client_faults \
	test_files_wire test_local_files test_local_server test_local_server_h11 test_local_skills test_odd_downloads \
	test_openai_client test_openai_files test_remote_model test_sandbox test_sandbox_docs \
	test_sandbox_network test_skills_wire \
	test_transfer_time_and_disk test_wire))

.PHONY: test-airflow-3.2
test-airflow-3.2: .venv-3.2/.ready
	.venv-3.2/bin/python -m pytest tests/unit tests/integration $(PYTEST_ARGS)

.PHONY: test-airflow-3.0 test-airflow-3.1
test-airflow-3.0 test-airflow-3.1: test-airflow-%: .venv-%/.ready
	.venv-$*/bin/python -m pytest tests/unit tests/integration $(addprefix --ignore=,$(FREE_OF_AIRFLOW)) $(PYTEST_ARGS)

.PHONY: bench
bench: $(VENV)/.ready ## Run the benchmarks, each beside its peer
	@set -e; for benchmark in benchmarks/[a-z]*.py; do echo "== $$benchmark"; $(BIN)/python "$$benchmark"; done

.PHONY: build
build: $(VENV)/.ready ## Build the wheel and the sdist, and check their metadata
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/python -m twine check --strict dist/*

.PHONY: serve
serve: $(VENV)/.ready ## Run the local server on port 8645
	@$(BIN)/airflow-containers serve

.PHONY: clean
clean: ## Remove the environments and everything built
	rm -rf .venv .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: constraints/airflow-3.3.txt $(SETUP)
	@scripts/setup-venv $(VENV) $< 11 12 13
	@touch $@

.venv-2.11/.ready: constraints/airflow-2.11.txt $(SETUP)
	@scripts/setup-venv .venv-2.11 $< 12 11
	@touch $@

.venv-3.0/.ready: constraints/airflow-3.0.txt $(SETUP)
	@scripts/setup-venv .venv-3.0 $< 12 11
	@touch $@

.venv-3.1/.ready .venv-3.2/.ready: .venv-%/.ready: constraints/airflow-%.txt $(SETUP)
	@scripts/setup-venv .venv-$* $< 13 12 11
	@touch $@
