# make demo   environment, install, the whole path on phantoms, and where the report is
# make test   environment, install, every check that CI runs
# make quick  the same without the tests that train or run a whole path
# make docs   the documentation site, in build/site; a warning is an error
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?= ../shared/data

.PHONY: demo test quick lint types layers unit docs reference model clean

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

quick: lint types layers
	$(BIN)/pytest -n 2 -m "not slow"

docs: .venv/docs reference
	$(BIN)/zensical build --strict -f mkdocs.yml
	@echo "build/site/index.html"

# The pages that are written from the code: command line and settings.
reference: .venv/installed
	$(BIN)/python tools/reference_pages.py

.venv/docs: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

# The bundled model, from BRATS and BRAINWEB folders below DATA: 2 cores need about two hours.
MODEL := build/t2-brain
model: .venv/installed
	$(BIN)/semcycle simulate brainweb $(DATA)/brainweb --vary --seed 1 --out $(MODEL)/brainweb
	$(BIN)/semcycle prepare brainweb $(MODEL)/brainweb --tissue maps --intensity median --slices all --workers 2 --out $(MODEL)/stores/brainweb
	$(BIN)/semcycle prepare brats $(DATA)/brats --intensity median --slices all --workers 2 --out $(MODEL)/stores/brats
	$(BIN)/semcycle augment $(MODEL)/stores/brats --split models/t2-brain.cases.json --copies 3 --every 2 --out $(MODEL)/stores/brats-varied
	$(BIN)/semcycle augment $(MODEL)/stores/brainweb --split models/t2-brain.cases.json --copies 1 --every 2 --out $(MODEL)/stores/brainweb-varied
	$(BIN)/semcycle augment $(MODEL)/stores/brats-varied $(MODEL)/stores/brainweb-varied --copies 0 --out $(MODEL)/stores/train
	$(BIN)/semcycle augment $(MODEL)/stores/brats $(MODEL)/stores/brainweb --copies 0 --out $(MODEL)/stores/all
	$(BIN)/semcycle train model/t2-brain --data $(MODEL)/stores/train --resume --out $(MODEL)/run
	$(BIN)/semcycle calibrate $(MODEL)/run --data $(MODEL)/stores/all --split models/t2-brain.cases.json --preset smooth
	$(BIN)/semcycle export $(MODEL)/run --out src/semcycle/models/t2-brain

clean:
	rm -rf .venv demo
