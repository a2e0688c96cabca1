# Everything a fresh clone needs: Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.app-$(shell cksum < requirements.txt | cut -d' ' -f1)
DEV_STAMP := $(VENV)/.dev-$(shell cat requirements.txt requirements-dev.txt | cksum | cut -d' ' -f1)

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench browser screenshots clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(STAMP) ## Set up if needed and open the application on http://127.0.0.1:7860
	@$(PY) app.py

# Three on two cores: two leave four tenths of them idle, since tests of servers and pages mostly wait.
test: $(DEV_STAMP) browser ## Run every test (installs a browser when none is there)
	@$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(DEV_STAMP) ## Check style, types and the rules between rooms
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

format: $(DEV_STAMP) ## Format the code
	@$(VENV)/bin/ruff format . && $(VENV)/bin/ruff check --fix .

bench: $(DEV_STAMP) ## Run the measurements in bench/ (long)
	@for file in bench/[a-z]*.py; do echo "== $$file"; $(PY) -m bench.$$(basename $$file .py) || exit 1; done

browser: $(DEV_STAMP) ## Make sure that a Chromium and a Chinese font are there for the tests
	@$(PY) tests/browser_setup.py

screenshots: $(DEV_STAMP) browser ## Take the pictures in docs/images anew
	@$(PY) -m tests.screenshots

clean: ## Remove the environment and caches (keeps var/, your data)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 run"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(VENV)/bin/python requirements.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEV_STAMP): $(STAMP) requirements-dev.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
