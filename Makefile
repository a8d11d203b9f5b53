# Two commands on a fresh machine: `make quickstart` and `make test`. They need Python >= 3.11, pip and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help quickstart test test-slow lint clean

help:
	@echo "make quickstart  train and test LeNet on real digits (installs into .venv first)"
	@echo "make test        lint, types, import contract and the test suite"
	@echo "make test-slow   the tests that take long"
	@echo "make clean       remove .venv and caches; runs and data stay"

.venv/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and f"Python is {v[0]}.{v[1]}, but must be at least 3.11: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.installed-dev: .venv/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@ .venv/.installed

quickstart: .venv/.installed
	$(BIN)/python cli.py fit --config configs/quickstart.yaml
	$(BIN)/python cli.py test --config configs/quickstart.yaml --ckpt_path best

lint: .venv/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint
	$(BIN)/python -m pytest --numprocesses 2

test-slow: .venv/.installed-dev
	$(BIN)/python -m pytest -m slow

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
