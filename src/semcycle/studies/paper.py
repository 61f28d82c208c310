"""The paper's experiment: every row of Tables 1 and 2 trained, scored and reported, its numbers beside ours.

[li2021], section 3: train on the lesion-free slices of 234 of the 259 high-grade cases of BraTS 2019, test on the other
25 and the 76 low-grade ones, and on ISLES 2015 without retraining.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from semcycle.config import MAX_COUNT, Config
from semcycle.console import err, progress_over, show_failures
from semcycle.errors import SemcycleError
from semcycle.files import write_json
from semcycle.store.slice_store import SliceStore, check_alike
from semcycle.store.split import load_split
from semcycle.studies.data_sets import DataSet, set_title
from semcycle.studies.paper_facts import describe_experiment
from semcycle.studies.paper_report import write_paper_report
from semcycle.studies.paper_rows import BRATS, ISLES, PaperRow, choose_rows
from semcycle.studies.paper_split import paper_split
from semcycle.studies.paper_table import TABLE_1
from semcycle.studies.running import run_scoring, run_training
from semcycle.training.hardware import Hardware
from semcycle.training.recipe import Recipe, load_recipe

HELD_OUT = 0.1
"""Share of the training subjects that early stopping watches."""


class PaperSettings(Config):
    """How much of the experiment to run."""

    size: str = "paper"
    """Folder of the recipes: ``paper``, or ``paper-medium`` and ``paper-small`` for two CPU cores."""
    seeds: int = Field(1, ge=1, le=MAX_COUNT)
    """Repetitions, with the seeds 0, 1, ..."""
    cycle_seeds: int = Field(0, ge=0, le=MAX_COUNT)
    """Repetitions of the rows of Table 1, the cycle's two, where they are to be more; 0 as the others."""
    precision: str = "32-true"
    """Fabric's, for training; ``bf16-mixed`` is faster where the processor has units for it."""
    rows: tuple[str, ...] = ()
    """Names of the rows to run; all by default."""
    patience: int = Field(0, ge=0, le=MAX_COUNT)
    """End a baseline's training when its held-out loss has not fallen for so many epochs, as the code of [baur2021]
    does after 5. That needs held-out subjects, a tenth of those that would train; 0 trains on all of them to the last
    epoch."""


def run_paper(
    brats: SliceStore,
    second: SliceStore | None,
    out: Path,
    settings: PaperSettings,
    split_file: Path | None = None,
    healthy: SliceStore | None = None,
) -> Path:
    """Train, score and report every row. The same call continues after a kill.

    A row that fails is left empty with the reason; the others are done.

    Args:
        brats: Store to test on, and to train on.
        second: Store of the second test set (ISLES 2015 in the paper), or ``None``.
        out: Folder for everything.
        settings: How much.
        split_file: Split of ``brats``; the paper's proportions without.
        healthy: Store of subjects without lesions that takes the place of the training cases of ``brats``; the paper
            learns from patients' lesion-free slices, which is known to cost accuracy.

    Returns:
        The page.

    Raises:
        SemcycleError: The stores were prepared differently, the split is impossible, or every row failed.
    """
    for other in (second, healthy):
        if other is not None:
            check_alike(brats, other)
    split = load_split(split_file, brats) if split_file else paper_split(brats)
    split.save(out / "split.json")
    title = set_title(brats, brats.case_ids)
    training = DataSet("brats", title, brats, split.train)
    if healthy:
        healthy_title = f"{set_title(healthy, healthy.case_ids)} (healthy)"
        training = DataSet("healthy", healthy_title, healthy, healthy.case_ids)
    tests = [DataSet("brats", title, brats, split.test, BRATS)]
    if second:
        second_title = set_title(second, second.case_ids)
        beside = ISLES if second.settings["cohort"] == "isles2015" else ""
        if second_title == title:
            second_title += " (second)"
        tests.append(DataSet("second", second_title, second, second.case_ids, beside))
    runs, reasons = _train_rows(training, out, settings)
    write_json(out / "failures.json", reasons)
    if not runs:
        msg = f"{out}: expected at least one method to train, got none ({next(iter(reasons.values()))})"
        raise SemcycleError(msg)
    scores = {data.name: out / "scores" / data.name for data in tests}
    for data in tests:
        with progress_over(f"score {data.title}", len(data.cases)) as done:
            facts = {"size": settings.size}
            _, failures = run_scoring(runs, data.store, data.cases, scores[data.name], progress=done, facts=facts)
        reasons |= {f"{data.title}, case {failure.case_id}": failure.public_reason for failure in failures}
        show_failures(failures)
    write_json(out / "failures.json", reasons)
    described = describe_experiment(training, tests, runs, split, settings.model_dump(mode="json"), reasons)
    return write_paper_report(out, scores, tests, runs, described)


def _train_rows(training: DataSet, out: Path, settings: PaperSettings) -> tuple[dict[str, Path], dict[str, str]]:
    """Runs by name in the tables, and why the missing ones are missing."""
    runs: dict[str, Path] = {}
    reasons: dict[str, str] = {}
    hardware = Hardware(precision=settings.precision)
    most = max(settings.seeds, settings.cycle_seeds)
    for seed in range(most):
        for row in choose_rows(settings.rows):
            if seed >= (settings.cycle_seeds or settings.seeds if row.name in TABLE_1 else settings.seeds):
                continue
            name = row.name if most == 1 else f"{row.name} seed {seed}"
            folder = out / "runs" / name.replace(" ", "-")
            before = runs.get(name.replace(row.name, row.reuse)) if row.reuse else None
            err.print(f"{name} ({settings.size}/{row.recipe})")
            try:
                recipe = _row_recipe(row, settings, seed)
                runs[name] = run_training(
                    recipe, training.store, training.cases, folder, resume=True, reuse=before, hardware=hardware
                )
            except (SemcycleError, RuntimeError, MemoryError) as error:
                reasons[name] = " ".join(str(error).split())[:300]
                err.print(f"{name} failed: {reasons[name]}", style="red")
    return runs, reasons


def _row_recipe(row: PaperRow, settings: PaperSettings, seed: int) -> Recipe:
    recipe = load_recipe(f"{settings.size}/{row.recipe}")
    training = recipe.training
    if row.baseline and settings.patience:
        share = training.validation_share or HELD_OUT
        training = training.model_copy(update={"patience": settings.patience, "validation_share": share})
    return recipe.model_copy(update={"seed": seed, "training": training})
