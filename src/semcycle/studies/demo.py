"""The demo: what the bundled model finds in four phantoms, then the whole path of a training, in miniature.

It goes through the same code as real data. The training is a toy: two networks of a minute each on nine phantoms; it
shows the path, and says nothing of how good the method is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from semcycle.cohorts import get_cohort
from semcycle.cohorts.base import Case
from semcycle.cohorts.simulated.phantom import KINDS, write_cohort
from semcycle.console import err, progress_over, show_failures
from semcycle.errors import StoreError
from semcycle.files import write_bytes
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.records import read_summary
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.report.folder_page import write_index
from semcycle.report.scan_page import draw_scan
from semcycle.report.scores_page import report_scores
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.store.split import Split
from semcycle.studies.demo_table import PhantomGroups, compare_methods
from semcycle.studies.running import run_scoring, run_training
from semcycle.tissue import tissue_provider
from semcycle.training.calibration import find_threshold
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.models import open_model
from semcycle.training.recipe import load_recipe
from semcycle.training.shipped import DEFAULT
from semcycle.volume import load_map

HEALTHY, LESIONS, UNSEEN = 12, 6, 3
"""Healthy phantoms, phantoms with a lesion, and how many of the healthy ones no training sees."""
SPACING = 2
"""Voxel size of the phantoms in mm."""
PREPROCESS = PreprocessSettings(size=96, pixel_mm=2.0, intensity="median")
"""The phantoms' own 2 mm grid in a window that holds a brain."""
RECIPE = "smoke/cycle-continuous"
TOY = (
    f"a toy: {HEALTHY - UNSEEN} phantoms, two small networks, about a minute each; it shows the path from scans to "
    "scores, not how good the method is"
)
"""What is said of the demo's training wherever its scores stand."""
DEMO_PRESETS = ("smooth", "literal")


@dataclass(frozen=True)
class DemoOutcome:
    """What the demo leaves.

    Attributes:
        table: A row a method, of :func:`semcycle.studies.demo_table.compare_methods`.
        patients: Page of the predicted patients.
        scores: Page of the training's scores.
    """

    table: pd.DataFrame
    patients: Path
    scores: Path


def run_demo(
    out: Path, *, seed: int = 0, workers: int = 2, say: Callable[[str], None] = lambda line: None
) -> DemoOutcome:
    """Predict four phantoms with the bundled model; then prepare, train, score, and compare.

    What is already there of an earlier demo is kept: a killed demo continues.

    Args:
        out: Folder for everything.
        seed: Of the cohort and of the training.
        workers: Processes for making and preparing phantoms.
        say: Called with what a reader can look at while the rest runs.

    Raises:
        StoreError: ``out`` holds something else.
    """
    cohort = out / "cohort"
    if not (cohort / "manifest.csv").is_file():
        if out.exists() and any(out.iterdir()) and not cohort.is_dir():
            msg = f"{out}: expected an empty folder or an earlier demo, got other files; choose another --out"
            raise StoreError(msg)
        with progress_over("phantoms", HEALTHY + LESIONS) as done:
            write_cohort(
                cohort, healthy=HEALTHY, lesions=LESIONS, spacing=SPACING, seed=seed, workers=workers, progress=done
            )
    listing = get_cohort("manifest").find_cases(cohort)
    healthy = [case for case in listing.cases if case.group == "healthy"]
    ill = [case for case in listing.cases if case.group != "healthy"]
    chosen = [next(case for case in ill if case.group == kind) for kind in KINDS] + healthy[-1:]
    patients = _predict_patients(out / "patients", chosen)
    say(f"patients: {patients}")
    for line in _compare_volumes(out / "patients", chosen):
        say(line)
    with progress_over("prepare", len(listing.cases)) as done:
        provider = tissue_provider("maps")
        prepare_store(listing, out / "store", PREPROCESS, provider, cohort="phantom", workers=workers, progress=done)
    store = SliceStore(out / "store")
    split = _split_phantoms(healthy, ill)
    split.save(out / "split.json")
    run = out / "runs" / "cycle"
    err.print(f"training {RECIPE}, {TOY}")
    run_training(load_recipe(RECIPE).model_copy(update={"seed": seed}), store, split.train, run, resume=True)
    table = _compare(run, PhantomGroups(healthy[-UNSEEN:], ill))
    write_bytes(out / "summary.csv", table.to_csv().encode())
    facts = {"the training is": TOY, "demo seed": seed, "lesions found and missed": _as_facts(table)}
    with progress_over("score", len(ill)) as done:
        _, failures = run_scoring(
            {"cycle, trained here": run},
            store,
            [case.case_id for case in ill],
            out / "scores",
            presets=DEMO_PRESETS,
            progress=done,
            facts=facts,
            lesions=False,
        )
    show_failures(failures)
    return DemoOutcome(table, patients, report_scores(out / "scores", out / "report"))


def _predict_patients(out: Path, chosen: list[Case]) -> Path:
    """Pages of some phantoms, by the bundled model."""
    model = open_model(DEFAULT)
    threshold = find_threshold("auto", model.calibration, model.preset, DEFAULT)
    scans = {case.case_id: case.images["t2"] for case in chosen}
    with progress_over("predict", len(scans)) as done:
        settings = PredictSettings(model.preset, threshold)
        show_failures(predict_files(scans, model, out, settings, draw=draw_scan, progress=done))
    return write_index(out)


def _compare_volumes(out: Path, chosen: list[Case]) -> Iterator[str]:
    """A line a phantom: how much lesion was drawn into it, and how much the bundled model calls lesion."""
    marked = read_summary(out).set_index("scan")["lesion_ml"]
    for case in chosen:
        volume = load_map(case.lesion) if case.lesion else None
        drawn = f"{(volume.data > 0).sum() * volume.voxel_ml:.1f} ml of lesion drawn" if volume else "no lesion drawn"
        if case.case_id in marked:
            yield f"  {case.case_id}: {drawn}, {marked[case.case_id]:.1f} ml marked"


def _compare(run: Path, phantoms: PhantomGroups) -> pd.DataFrame:
    """The bundled model, the fresh cycle, and intensity with the bundled model's treatment, on the same phantoms."""
    models = {
        f"{DEFAULT} (bundled)": open_model(DEFAULT),
        "cycle, trained here": load_checkpoint(run),
        f"T2 intensity, treated as {DEFAULT}": open_model("intensity"),
    }
    with progress_over("compare", len(models) * (len(phantoms.healthy) + len(phantoms.ill))) as done:
        return compare_methods(models, phantoms, done)


def _as_facts(table: pd.DataFrame) -> dict[str, dict[str, object]]:
    return {str(name): {str(key): str(value) for key, value in row.items()} for name, row in table.iterrows()}


def _split_phantoms(healthy: list[Case], ill: list[Case]) -> Split:
    """Healthy phantoms train but for the last ones; those with a lesion, and these, test."""
    train = [case.case_id for case in healthy[:-UNSEEN]]
    test = [case.case_id for case in [*healthy[-UNSEEN:], *ill]]
    return Split(train, test, f"healthy phantoms train but {UNSEEN}; these and those with a lesion test")
