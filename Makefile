# Two commands: `make quickstart` and `make test`. Each makes .venv and fills it if need be.
#   make PYTHON=python3.12 test          another Python, 3.11 or newer
#   make SETUP="--uv" quickstart         options for tools/setup_env.py
PYTHON ?= python3
SETUP ?=
PYTEST ?= -q -n 2
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint format env env-dev clean

help:
	@echo "make quickstart   install, then train and evaluate SED on drawn pictures"
	@echo "make test         install, then lint and all tests"
	@echo "make lint         the linter and the formatter, as make test runs them"
	@echo "make format       lets both put right what they can"
	@echo "make clean        removes caches and build folders; keeps $(VENV) and output/"

quickstart: env
	@$(BIN)/python tools/quickstart.py

test: lint
	@$(BIN)/python -m pytest $(PYTEST)

lint: env-dev
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .

format: env-dev
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

env: $(BIN)/python
	@$(BIN)/python tools/setup_env.py $(SETUP)

env-dev: $(BIN)/python
	@$(BIN)/python tools/setup_env.py --dev $(SETUP)

$(BIN)/python:
	@command -v $(PYTHON) > /dev/null || \
		{ echo "no $(PYTHON) here; say make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python %d.%d is too old: 3.11 or 3.12 is needed; say make PYTHON=python3.12 ..." % sys.version_info[:2])'
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "$(PYTHON) cannot make environments (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -prune -exec rm -rf {} +
