# make demo    install, fetch a source and real reviews, fit, print what the transfer was worth
# make test    the tests, from nothing; those marked slow are left to
# make test-slow
# make check   lint, format, types, import direction
# make clean   remove the environment and everything a run left here

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/demo

.PHONY: demo test test-slow check clean install install-dev

install: .venv/installed
install-dev: .venv/installed-dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@ .venv/installed

demo: .venv/installed
	$(BIN)/headstart sources fetch minilm
	data=$$($(BIN)/headstart data fetch clothing_reviews_demo) && \
	$(BIN)/headstart fit "$$data" --target "Department Name" --budget 4m --out $(RUN)

# One thread a worker: more workers than cores make every one of them slow.
test: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_direction.py

clean:
	rm -rf .venv runs build dist .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
