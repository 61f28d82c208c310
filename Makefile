# make demo   environment, install, the whole path on phantoms, and where the report is
# make test   environment, install, every check that CI runs
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?= ../shared/data

.PHONY: demo test lint types layers unit clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

demo: .venv/installed
	$(BIN)/semcycle demo --out demo

test: lint types layers unit

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

layers: .venv/installed
	$(BIN)/lint-imports

unit: .venv/installed
	SEMCYCLE_DATA="$(if $(wildcard $(DATA)),$(abspath $(DATA)),$(SEMCYCLE_DATA))" $(BIN)/pytest -n 2

clean:
	rm -rf .venv demo
