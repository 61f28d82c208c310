"""The demo: the whole path on a phantom cohort, through the same code as real data."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from semcycle.cohorts import get_cohort
from semcycle.cohorts.simulated.phantom import write_cohort
from semcycle.console import err, progress_over, show_failures
from semcycle.errors import StoreError
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.report.scores_page import report_scores
from semcycle.report.tables import summary
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.store.split import Split
from semcycle.studies.running import run_scoring, run_training
from semcycle.tissue import tissue_provider
from semcycle.training.recipe import load_recipe

HEALTHY, LESIONS = 12, 6
PREPROCESS = PreprocessSettings(size=96, pixel_mm=2.0, intensity="median")
"""The phantoms' own 2 mm grid in a window that holds a brain."""
RECIPES = {"cycle continuous": "smoke/cycle-continuous", "cycle discrete": "smoke/cycle-discrete"}


def run_demo(out: Path, *, seed: int = 0, workers: int = 2) -> tuple[pd.DataFrame, Path]:
    """Make phantoms, prepare, train both representations, score, report.

    What is already there of an earlier demo is kept: a killed demo continues.

    Args:
        out: Folder for everything.
        seed: Of the cohort and of the training.
        workers: Processes for making and preparing phantoms.

    Returns:
        The small table, and the path of the report.

    Raises:
        StoreError: ``out`` holds something else.
    """
    cohort = out / "cohort"
    if not (cohort / "manifest.csv").is_file():
        if out.exists() and any(out.iterdir()) and not cohort.is_dir():
            msg = f"{out}: expected an empty folder or an earlier demo, got other files; choose another --out"
            raise StoreError(msg)
        with progress_over("phantoms", HEALTHY + LESIONS) as done:
            write_cohort(cohort, healthy=HEALTHY, lesions=LESIONS, spacing=2, seed=seed, workers=workers, progress=done)
    listing = get_cohort("manifest").find_cases(cohort)
    with progress_over("prepare", len(listing.cases)) as done:
        provider = tissue_provider("maps")
        prepare_store(listing, out / "store", PREPROCESS, provider, cohort="phantom", workers=workers, progress=done)
    store = SliceStore(out / "store")
    split = _split_phantoms(store)
    split.save(out / "split.json")
    runs: dict[str, Path] = {}
    for name, recipe in RECIPES.items():
        err.print(f"training {name} ({recipe})")
        settings = load_recipe(recipe).model_copy(update={"seed": seed})
        first = next(iter(runs.values()), None)
        runs[name] = out / "runs" / name.replace(" ", "-")
        run_training(settings, store, split.train, runs[name], resume=True, reuse=first)
    with progress_over("score", len(split.test)) as done:
        table, failures = run_scoring(runs, store, split.test, out / "scores", progress=done, facts={"demo seed": seed})
    show_failures(failures)
    return summary(table.table), report_scores(out / "scores", out / "report")


def _split_phantoms(store: SliceStore) -> Split:
    """Healthy phantoms train, those with a lesion test."""
    healthy = [case for case in store.case_ids if store.summary(case)["group"] == "healthy"]
    lesions = [case for case in store.case_ids if case not in healthy]
    return Split(healthy, lesions, "healthy phantoms train, phantoms with a lesion test")
