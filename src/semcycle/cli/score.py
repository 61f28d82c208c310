"""The verb score: any number of runs in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Crew, Dask, Data, Device, Out, choose_workers, finish, show_scores, split_cases
from semcycle.cli.settings import Changes, read_presets
from semcycle.console import progress_over


def score(
    *,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="Run folders; the intensity baseline always stands beside.")
    ] = None,
    data: Data,
    folder: Out,
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split file; without it all cases are scored.")
    ] = None,
    thresholds_from: Annotated[
        list[str] | None,
        typer.Option(
            "--threshold-from",
            help="validation, healthy, or either with =STORE: set thresholds on the cases that runs held out, or on a "
            "store's; repeatable. Without it thresholds come from the test cases and are labelled oracle.",
        ),
    ] = None,
    lesions: Annotated[bool, typer.Option(help="Count lesions and false alarms and measure surfaces as well.")] = True,
    all_voxels: Annotated[
        bool,
        typer.Option("--all-voxels", help="Count the background too, as healthy, as the reference code does (A22)."),
    ] = False,
    presets: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            help="Post-processing: one of the presets below (literal and baur without this option), or with changes: "
            "literal,median_mm=5,min_component_mm3=30; repeatable.",
        ),
    ] = None,
    changes: Changes = None,
    workers: Crew = None,
    dask: Dask = "",
    device: Device = "cpu",
) -> None:
    """Score any number of runs and the intensity baseline in one table."""
    from semcycle.store.slice_store import SliceStore
    from semcycle.studies.running import DEFAULT_PRESETS, name_runs, run_scoring

    store = SliceStore(data)
    _, cases = split_cases(split_file, store)
    with progress_over("score", len(cases)) as done:
        scores, failures = run_scoring(
            name_runs(runs or []),
            store,
            cases,
            folder,
            device=device,
            progress=done,
            presets=read_presets(presets or DEFAULT_PRESETS, changes),
            thresholds_from=thresholds_from or (),
            lesions=lesions,
            all_voxels=all_voxels,
            workers=choose_workers(workers, dask),
        )
    show_scores(scores.table, folder)
    finish(failures, folder)
