"""The paper's experiment: its protocol, every row of Tables 1 and 2, its figures, and its numbers beside ours.

[li2021], section 3: train on the lesion-free slices of 234 of the 259 high-grade cases of BraTS 2019,
test on the other 25 and the 76 low-grade ones, and on ISLES 2015 without retraining.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semcycle.console import err, progress_over
from semcycle.errors import SemcycleError
from semcycle.files import write_json
from semcycle.store.slice_store import SliceStore, check_alike
from semcycle.store.split import Split, load_split
from semcycle.studies.paper_report import write_paper_report
from semcycle.studies.running import run_scoring, run_training
from semcycle.training.recipe import load_recipe

TRAIN_SHARE = 234 / 259
"""Of the high-grade cases."""


@dataclass(frozen=True)
class PaperRow:
    """A method of the paper's tables, or one that we add.

    Attributes:
        name: In the tables.
        recipe: File name in ``recipes/paper`` and ``recipes/paper-small``.
        published: Data set -> the paper's AUPRC and best Dice.
        reuse: PaperRow whose equal leading stages are taken over.
    """

    name: str
    recipe: str
    published: dict[str, tuple[float, float]] = field(default_factory=dict)
    reuse: str = ""


ROWS = (
    PaperRow("AE", "autoencoder", {"brats": (0.229, 0.378), "second": (0.043, 0.112)}),
    PaperRow("VAE", "vae", {"brats": (0.331, 0.440), "second": (0.050, 0.117)}),
    PaperRow("GMVAE", "gmvae", {"brats": (0.253, 0.408), "second": (0.057, 0.116)}),
    PaperRow("f-AnoGAN", "fanogan", {"brats": (0.373, 0.453), "second": (0.076, 0.164)}),
    PaperRow("cycle continuous", "cycle-continuous", {"brats": (0.511, 0.544), "second": (0.110, 0.178)}),
    PaperRow("cycle discrete", "cycle-discrete", {"brats": (0.371, 0.482)}, reuse="cycle continuous"),
    PaperRow("cycle robust", "cycle-robust"),
    PaperRow("context VAE", "context"),
    PaperRow("denoising AE", "denoising"),
)
"""The paper's methods first, then ours to compare."""


@dataclass(frozen=True)
class PaperSettings:
    """How much of the experiment to run.

    Attributes:
        size: ``paper`` or ``paper-small``: the folder of the recipes.
        seeds: Repetitions, with the seeds 0, 1, ...
        rows: Names of the rows to run; all by default.
    """

    size: str = "paper"
    seeds: int = 1
    rows: tuple[str, ...] = ()


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
    source, train = (healthy, healthy.case_ids) if healthy else (brats, split.train)
    runs, reasons = _train_rows(source, train, out, settings)
    write_json(out / "failures.json", reasons)
    if not runs:
        msg = f"{out}: expected at least one method to train, got none ({next(iter(reasons.values()))})"
        raise SemcycleError(msg)
    tested = {"brats": (brats, split.test)} | ({"second": (second, second.case_ids)} if second else {})
    scores = {}
    for name, (store, cases) in tested.items():
        with progress_over(f"score {store.settings['cohort']}", len(cases)) as done:
            run_scoring(runs, store, cases, out / "scores" / name, progress=done, facts={"size": settings.size})
        scores[name] = out / "scores" / name
    facts: dict[str, Any] = {
        "training source": source.settings["cohort"]
        + (" (healthy)" if healthy else " (lesion-free slices of patients)"),
        "training cases": train,
        "test cases": split.test,
        "split": split.origin,
        "proportions": _proportions(brats, split),
        "second test set": second.settings["cohort"] if second else "none",
        "recipes": settings.size,
        "seeds": settings.seeds,
        "not finished": reasons or "none",
    }
    published = {row.name: row.published for row in ROWS}
    posteriors = {name: runs[name] for name in runs if name.startswith("cycle continuous")}
    return write_paper_report(out, scores, published, facts, posteriors, tested)


def paper_split(store: SliceStore, seed: int = 0) -> Split:
    """The paper's split: 234/259 of the high-grade cases train, the others and all low-grade ones test (A24).

    A store without grades counts as high-grade. Subjects stay whole.
    """
    groups = {case: str(store.summary(case)["group"]) for case in store.case_ids}
    graded = [case for case, group in groups.items() if group == "HGG"] or list(store.case_ids)
    subjects = sorted({store.subject(case) for case in graded})
    random.Random(seed).shuffle(subjects)
    chosen = set(subjects[: round(len(subjects) * TRAIN_SHARE)])
    train = [case for case in graded if store.subject(case) in chosen]
    test = [case for case in store.case_ids if store.subject(case) not in chosen]
    origin = {"rule": "234/259 of the HGG subjects train, the rest and LGG test", "seed": seed, "store": store.hash}
    return Split(sorted(train), sorted(test), origin)


def _proportions(store: SliceStore, split: Split) -> str:
    """How the split compares with the paper's, in words."""
    groups = {case: str(store.summary(case)["group"]) for case in store.case_ids}
    high = [case for case, group in groups.items() if group == "HGG"]
    train, test = len(split.train), len(split.test)
    if (len(high), len(groups)) == (259, 335):
        return f"the paper's: {train} train, {test} test"
    return (
        f"{train} of {train + test} cases train, {test} test; the paper has 335 cases of BraTS 2019 (234 HGG train, 25 "
        "HGG and 76 "
        f"LGG test). A smaller collection is split in the same proportions, or by the split file named above"
    )


def _train_rows(
    store: SliceStore, cases: Sequence[str], out: Path, settings: PaperSettings
) -> tuple[dict[str, Path], dict[str, str]]:
    """Runs by name in the tables, and why the missing ones are missing."""
    runs: dict[str, Path] = {}
    reasons: dict[str, str] = {}
    for seed in range(settings.seeds):
        for row in _chosen(settings.rows):
            name = row.name if settings.seeds == 1 else f"{row.name} seed {seed}"
            folder = out / "runs" / name.replace(" ", "-")
            before = runs.get(name.replace(row.name, row.reuse)) if row.reuse else None
            err.print(f"{name} ({settings.size}/{row.recipe})", markup=False)
            try:
                recipe = load_recipe(f"{settings.size}/{row.recipe}").model_copy(update={"seed": seed})
                runs[name] = run_training(recipe, store, cases, folder, resume=True, reuse=before)
            except (SemcycleError, RuntimeError, MemoryError) as error:
                reasons[name] = " ".join(str(error).split())[:300]
                err.print(f"{name} failed: {reasons[name]}", markup=False, style="red")
    return runs, reasons


def _chosen(names: Sequence[str]) -> list[PaperRow]:
    known = {row.name: row for row in ROWS}
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"expected rows of {', '.join(known)}, got {unknown[0]!r}; correct --rows"
        raise SemcycleError(msg)
    return [known[name] for name in names] or list(ROWS)
