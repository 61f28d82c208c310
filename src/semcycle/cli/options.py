"""Options and endings that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcycle.console import err, out, show_failures
from semcycle.files import VERSION

if TYPE_CHECKING:
    import pandas as pd

    from semcycle.errors import Failure
    from semcycle.processes import Workers
    from semcycle.store.slice_store import SliceStore


def _show_version(asked: bool) -> None:
    if asked:
        out.print(VERSION)
        raise typer.Exit


Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is made.")]
Data = Annotated[Path, typer.Option("--data", help="Slice store made by `semcycle prepare`.")]
Device = Annotated[str, typer.Option(help="Where the networks run: cpu, cuda, cuda:1, mps.")]
FilePattern = Annotated[str, typer.Option(help="Which files of a folder are scans, such as *_t2.nii.gz.")]
Processes = Annotated[int, typer.Option(min=1, max=512, help="Processes.")]
Crew = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, max=512, help="Processes of one thread each; without it one process with all threads."
    ),
]
Dask = Annotated[
    str,
    typer.Option(
        "--dask",
        metavar="ADDRESS|FILE",
        help="Work on the Dask cluster of this scheduler, or of this scheduler file, instead of on this machine.",
    ),
]


def complete_models(typed: str) -> list[str]:
    """Names of bundled models for a shell's completion."""
    from semcycle.training.shipped import bundled_models

    return [name for name in bundled_models() if name.startswith(typed)]


def choose_workers(workers: int | None, dask: str) -> Workers | None:
    """Processes of this machine, or a cluster.

    Raises:
        typer.BadParameter: Both are given.
    """
    if dask and workers is not None:
        msg = "expected --workers or --dask, got both"
        raise typer.BadParameter(msg)
    return dask or workers


def split_cases(file: Path | None, store: SliceStore) -> tuple[list[str], list[str]]:
    """Training and test cases; without a split every case is both."""
    from semcycle.store.split import load_split

    if file is None:
        return store.case_ids, store.case_ids
    split = load_split(file, store)
    return split.train, split.test


def show_store(store: SliceStore) -> None:
    """Say what a store holds, and which of its cases look doubtful."""
    summaries = {case: store.summary(case) for case in store.case_ids}
    slices = sum(summary["slices"] for summary in summaries.values())
    free = sum(summary["lesion_free_slices"] for summary in summaries.values())
    out.print(f"store: {store.folder} ({len(summaries)} cases, {slices} slices, {free} of them free of lesions)")
    for case, summary in summaries.items():
        if summary["flags"]:
            err.print(f"doubtful {case}: {'; '.join(summary['flags'])}")


def show_scores(table: pd.DataFrame, folder: Path) -> None:
    """Print a score folder's main numbers, and write its page."""
    from semcycle.report.scores_page import report_scores
    from semcycle.report.tables import by_preset, summary, terminal_table

    for preset, frame in by_preset(summary(table)).items():
        out.print(terminal_table(frame, f"preset {preset}"))
    out.print(f"scores: {folder}/table.csv")
    out.print(f"report: {report_scores(folder)}")


def finish(failures: list[Failure], folder: Path) -> None:
    """Exit with 1 when some cases failed."""
    if failures:
        show_failures(failures)
        err.print(f"{len(failures)} failed, see {folder}/failures.csv; the others are done")
        raise typer.Exit(1)
