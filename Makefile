# make demo   train the bundled model with GRPO and with RS-GRPO, and measure pass@k against the base model's
# make test   linter, type checker, tests
# Each sets up its own virtual environment first; both need Python 3.11 or newer.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: demo test lint slow clean

demo: $(INSTALLED)
	PATH="$(abspath $(BIN)):$$PATH" sh scripts/demo.sh

test: $(INSTALLED) lint
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Also the tests that take minutes.
slow: $(INSTALLED)
	$(BIN)/python -m pytest -m "slow"

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=24"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[report,dev]"
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
