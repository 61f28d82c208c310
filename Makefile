# make demo   environment, install; phantom patients predicted, a toy training scored, and where the pages are
# make test   environment, install, every check that CI runs
# make quick  the same without the tests that train or run a whole path
# make docs   the documentation site, in build/site; a warning is an error
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DATA ?= ../shared/data

.PHONY: demo test quick lint types layers unit docs reference model cycle refiner clean

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

# The bundled model, from the folders below DATA. First the cycle (2 cores need about two hours), bundled as t2-brain-1,
# then the refiner on it: two networks, each with anomalies drawn into scans and about 40 minutes of one core.
CYCLE := build/t2-brain-1
MODEL := build/t2-brain
MEDIAN := --intensity median --slices all --workers 2
MASKS := $(DATA)/lesion-masks
PASTE := --strokes $(MASKS)/stroke --plaques $(MASKS)/ms-mni --leave-out patient07 --leave-out patient19 \
	--split models/t2-brain.cases.json --workers 2
SMALL := --set kinds=tumour:0.16,oedema:0.08,stroke:0.08,plaques:0.34,spots:0.22,faint:0.07,dark:0.05 \
	--set healthy=0.25 --set rim=0.4 --set coils=0.55
CENTRED := --tissue none $(MEDIAN) --set centre=brain
model: cycle refiner

cycle: .venv/installed
	$(BIN)/semcycle simulate brainweb $(DATA)/brainweb --vary --seed 1 --out $(CYCLE)/brainweb
	$(BIN)/semcycle prepare brainweb $(CYCLE)/brainweb --tissue maps $(MEDIAN) --out $(CYCLE)/stores/brainweb
	$(BIN)/semcycle prepare brats $(DATA)/brats $(MEDIAN) --out $(CYCLE)/stores/brats
	$(BIN)/semcycle augment $(CYCLE)/stores/brats --split models/t2-brain-1.cases.json --copies 3 --every 2 --out $(CYCLE)/stores/brats-varied
	$(BIN)/semcycle augment $(CYCLE)/stores/brainweb --split models/t2-brain-1.cases.json --copies 1 --every 2 --out $(CYCLE)/stores/brainweb-varied
	$(BIN)/semcycle augment $(CYCLE)/stores/brats-varied $(CYCLE)/stores/brainweb-varied --copies 0 --out $(CYCLE)/stores/train
	$(BIN)/semcycle augment $(CYCLE)/stores/brats $(CYCLE)/stores/brainweb --copies 0 --out $(CYCLE)/stores/all
	$(BIN)/semcycle train model/t2-brain-1 --data $(CYCLE)/stores/train --resume --out $(CYCLE)/run
	$(BIN)/semcycle calibrate $(CYCLE)/run --data $(CYCLE)/stores/all --split models/t2-brain-1.cases.json --preset smooth
	$(BIN)/semcycle export $(CYCLE)/run --out src/semcycle/models/t2-brain-1

refiner: .venv/installed
	$(BIN)/semcycle prepare brats $(DATA)/brats2021 --tissue none $(MEDIAN) --out $(MODEL)/stores/brats2021
	mkdir -p $(MODEL)/native && sed "s|DATA|$(abspath $(DATA))|g" models/t2-brain.native.csv > $(MODEL)/native/manifest.csv
	$(BIN)/semcycle prepare manifest $(MODEL)/native --tissue none $(MEDIAN) --out $(MODEL)/stores/native
	$(BIN)/semcycle simulate brainweb $(DATA)/brainweb --vary --skull --seed 2 --out $(MODEL)/heads
	$(BIN)/semcycle prepare brainweb $(MODEL)/heads --tissue maps $(MEDIAN) --out $(MODEL)/stores/heads
	$(BIN)/semcycle paste $(CYCLE)/stores/brats $(CYCLE)/stores/brainweb $(MODEL)/stores/brats2021 $(MODEL)/stores/native $(PASTE) --copies 10 --seed 1 --out $(MODEL)/stores/first
	$(BIN)/semcycle paste $(MODEL)/stores/heads $(PASTE) --copies 5 --seed 2 --tag s --out $(MODEL)/stores/heads-pasted
	$(BIN)/semcycle augment $(MODEL)/stores/first $(MODEL)/stores/heads-pasted --copies 0 --out $(MODEL)/stores/train
	$(BIN)/semcycle train model/t2-brain-first --data $(MODEL)/stores/train --precision bf16-mixed --resume --out $(MODEL)/first
	$(BIN)/semcycle paste $(CYCLE)/stores/brats $(CYCLE)/stores/brainweb $(MODEL)/stores/brats2021 $(MODEL)/stores/native $(PASTE) $(SMALL) --copies 10 --seed 3 --out $(MODEL)/stores/second
	$(BIN)/semcycle paste $(MODEL)/stores/heads $(PASTE) $(SMALL) --copies 5 --seed 4 --tag s --out $(MODEL)/stores/heads-second
	$(BIN)/semcycle augment $(MODEL)/stores/second $(MODEL)/stores/heads-second --copies 0 --out $(MODEL)/stores/train-second
	$(BIN)/semcycle train model/t2-brain --start $(MODEL)/first --data $(MODEL)/stores/train-second --precision bf16-mixed --resume --out $(MODEL)/run
	$(BIN)/semcycle prepare brats $(DATA)/brats $(CENTRED) --out $(MODEL)/centred/brats
	$(BIN)/semcycle prepare brats $(DATA)/brats2021 $(CENTRED) --out $(MODEL)/centred/brats2021
	$(BIN)/semcycle prepare manifest $(MODEL)/native $(CENTRED) --out $(MODEL)/centred/native
	$(BIN)/semcycle calibrate $(MODEL)/centred/brats $(MODEL)/centred/brats2021 $(MODEL)/centred/native --split models/t2-brain.calibration.json --allow-learned --preset refined --max-false-components 0.5 --grow-rate 0.003 --model $(MODEL)/run --in-place
	$(BIN)/semcycle export $(MODEL)/run --out src/semcycle/models/t2-brain

clean:
	rm -rf .venv demo
