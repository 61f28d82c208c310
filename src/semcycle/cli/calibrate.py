"""The verb calibrate: thresholds for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semcycle.cli.options import Data
from semcycle.cli.settings import Changes, read_presets
from semcycle.console import out, progress_over


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder made by `semcycle train`.")],
    data: Data,
    preset: Annotated[
        str, typer.Option(help="Post-processing the model is meant to be used with: one of the presets below.")
    ] = "literal",
    changes: Changes = None,
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split file: only its test cases; without it all cases.")
    ] = None,
    source: Annotated[str, typer.Option(help="The healthy data in words; the store's cohort without.")] = "",
) -> None:
    """Find the scores that 1, 2 and 5 % of healthy voxels pass, and keep them with the model."""
    from semcycle.scoring.calibrate import calibrate as find_thresholds
    from semcycle.store.slice_store import SliceStore
    from semcycle.store.split import read_split
    from semcycle.training.checkpoint import load_checkpoint

    (preset,) = read_presets([preset], changes)
    store, checkpoint = SliceStore(data), load_checkpoint(run)
    cases = [case for case in read_split(split_file).test if case in store.case_ids] if split_file else store.case_ids
    words = source or f"healthy voxels of {len(cases)} cases ({store.settings['cohort']})"
    with progress_over("calibrate", len(cases)) as done:
        calibration = find_thresholds(checkpoint, store, cases, preset, words, progress=done)
    for cut in calibration.thresholds[preset]:
        out.print(f"fpr={cut.rate:g}: {cut.value:.4f} (GM {cut.gm}, WM {cut.wm}, CSF {cut.csf})")
    out.print(f"calibration: {calibration.save(run)}")
