# `make demo` and `make test` are all that a new machine needs besides Python 3.10+ and make.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed
INSTALLED_UI = $(VENV)/.installed-ui
INSTALLED_BENCH = $(VENV)/.installed-bench
DEMO ?= .demo
PORT ?= 3000
# What the tests need besides the program; `make install` takes `ui` along.
EXTRAS ?= dev
# Processes of `make test`, each with a store of its own; 0 for none but its own.
WORKERS ?= 2

# Tests and servers start hundreds of processes; where this is set, each would compile all anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help install demo dev stop test test-thorough test-stores test-ui screenshots bench lint format clean

help:  ## What can be made.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: Python 3.10 or newer is needed; try: make PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

install:  ## Install what all of these need, at once.
	@$(MAKE) --no-print-directory $(INSTALLED) EXTRAS=dev,ui
	@touch $(INSTALLED_UI)

$(INSTALLED_UI): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[ui]'
	@touch $@

demo: $(INSTALLED)  ## Upload a library to a local S3 store through Dagster (LIBRARY=~/Music, or a sample).
	@$(BIN)/catalogsync demo --directory $(DEMO) $(if $(LIBRARY),--library "$(LIBRARY)")

dev: $(INSTALLED)  ## Open Dagster's web UI on the demo's state (PORT=3000).
	@$(BIN)/catalogsync dev --directory $(DEMO) --port $(PORT)

stop: $(INSTALLED)  ## Stop the demo's store.
	@$(BIN)/catalogsync demo --stop --directory $(DEMO)

test: $(INSTALLED)  ## Run all tests against a real S3 server.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 $(ARGS)
	@echo "not run: stores other than SeaweedFS (make test-stores), the web UI (make test-ui)," \
	  "what takes long (make test-thorough)"

test-thorough: $(INSTALLED)  ## Run what `make test` leaves out: more of the same, in larger sizes.
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'thorough and not other_store' --durations=25 $(ARGS)

test-stores: $(INSTALLED)  ## Run the suite of stores against all of them (says what to install).
	@$(BIN)/python -m catalogsync_assets_tests.servers.fixtures
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m 'not ui' catalogsync_assets_tests/conformance $(ARGS)

test-ui: $(INSTALLED_UI)  ## Run the tests of the web UI in a browser (needs Chromium).
	@$(BIN)/python -m catalogsync_assets_tests.ui.browser
	$(BIN)/python -m pytest -m ui catalogsync_assets_tests/ui $(ARGS)

screenshots: $(INSTALLED_UI)  ## Make the pictures of docs/images anew (needs Chromium).
	@$(BIN)/python -m catalogsync_assets_tests.ui.browser
	$(BIN)/python -m catalogsync_assets_tests.ui.screenshots docs/images

$(INSTALLED_BENCH): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[benchmarks]'
	@touch $@

bench: $(INSTALLED_BENCH)  ## Measure everything beside other programs (ONLY=small,nothing; ARGS=--quick).
	@$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(ARGS)

lint: $(INSTALLED)  ## Check style, layers and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

format: $(INSTALLED)  ## Put the code into its form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: stop  ## Remove the demo and the virtual environment.
	rm -rf $(DEMO) $(VENV)
