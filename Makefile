# roadwork: every command that a developer needs. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9
PYTEST_ARGS ?=
LOCK_ARGS ?=

# Without its bytecode cache every start of ZenML takes seconds longer.
unexport PYTHONDONTWRITEBYTECODE
unexport PYTHONPATH
unexport VIRTUAL_ENV
export PYTHONHASHSEED ?= 0
export NO_COLOR ?= 1
export UV_NO_PROGRESS ?= 1

PACKAGES := roadwork steps pipelines materializers registry serving cli stacks
SOURCES := $(wildcard $(PACKAGES) tests benchmarks docs scripts training_pipeline.py ablation_pipeline.py recalibration_pipeline.py)

##@ Start

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z][a-z-]*:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo

.PHONY: setup
setup: $(VENV)/.installed runs/zenml/.ready ## Make .venv from the locks, and ZenML's local stack

$(VENV)/.uv-$(UV_VERSION):
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(not (3, 11) <= v[:2] < (3, 13))' || { \
	  echo "error: $(PYTHON) is $$($(PYTHON) --version 2>&1); roadwork needs Python 3.11 or 3.12:" \
	    "make setup PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq --disable-pip-version-check "uv==$(UV_VERSION)"
	@touch $@

$(VENV)/.installed: requirements/dev.txt pyproject.toml stacks/checkout.py $(VENV)/.uv-$(UV_VERSION)
	@echo "Installing the locked packages (the first time takes minutes)"
	@$(UV) pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@$(BIN)/python -m stacks.checkout
	@touch $@

runs/zenml/.ready: export ZENML_LOGGING_VERBOSITY := WARNING
runs/zenml/.ready: stacks/local.yaml stacks/apply.py | $(VENV)/.installed
	@mkdir -p runs/zenml
	@test -d .zen || $(BIN)/zenml init >/dev/null
	@$(BIN)/zenml analytics opt-out >/dev/null
	@$(BIN)/python -m stacks.apply local
	@touch $@
	@echo "Ready. Next: make demo"

.PHONY: demo
demo: setup ## Generate street scenes, train, certify, export, register: the whole way in minutes
	@$(BIN)/roadwork demo

##@ Work

.PHONY: test
test: setup ## Run the tests (PYTEST_ARGS="-k splits" for some)
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: check
check: setup ## Check format, lint, types and the direction of imports
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports

.PHONY: fmt
fmt: setup ## Format the code, and mend what the linter can
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

.PHONY: bench
bench: setup ## Measure speed; writes runs/benchmarks
	@$(BIN)/python -m benchmarks

.PHONY: docs
docs: setup ## Write the generated references in docs
	@$(BIN)/python docs/references.py

COMPILE = $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
SHELL_EXTRAS := --extra train --extra weights --extra data --extra validate --extra version \
  --extra pipeline --extra export --extra serve --extra monitor

.PHONY: lock
lock: $(VENV)/.uv-$(UV_VERSION) ## Resolve requirements/*.txt (LOCK_ARGS=--upgrade for new versions)
	@$(COMPILE) $(LOCK_ARGS) $(SHELL_EXTRAS) --extra dev -o requirements/dev.txt
	@# The pins of an existing file are kept: so the smaller locks agree with the large one.
	@cp requirements/dev.txt requirements/train.txt
	@cp requirements/dev.txt requirements/serve.txt
	@$(COMPILE) $(SHELL_EXTRAS) -o requirements/train.txt
	@$(COMPILE) --extra serve -o requirements/serve.txt
	@wc -l requirements/*.txt

.PHONY: clean
clean: ## Remove caches and builds; keeps .venv and runs
	@rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache site
	@find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Removed caches and builds. The environment is in $(VENV), all results are in runs."
