"""Verbs that use a trained model: predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semcycle.cli.options import Device, Out, finish
from semcycle.console import out, progress_over
from semcycle.errors import SemcycleError


def predict(
    scans: Annotated[Path, typer.Argument(help="A T2 scan, or a folder of them.")],
    model: Annotated[Path, typer.Option(help="Run folder made by `semcycle train`.")],
    folder: Out,
    pattern: Annotated[str, typer.Option(help="Which files of a folder are scans, such as *_t2.nii.gz.")] = "*",
    preset: Annotated[str, typer.Option(help="Post-processing: literal, baur.")] = "literal",
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask of the scan, or a folder of masks whose names begin with the scans' names."),
    ] = None,
    device: Device = "cpu",
) -> None:
    """Write the anomaly map, tissue maps and healthy reconstruction of scans on their own grids."""
    from semcycle.checkpoint import load_checkpoint
    from semcycle.experiment import draw_overview
    from semcycle.predict import find_mask, find_scans, predict_files
    from semcycle.scoring.postprocess import PRESETS
    from semcycle.volume import load_mask

    if preset not in PRESETS:
        msg = f"expected --preset to be one of {', '.join(PRESETS)}, got {preset!r}"
        raise typer.BadParameter(msg)
    if brain_mask and scans.is_dir() and not brain_mask.is_dir():
        msg = "expected a folder of masks with --brain-mask for a folder of scans, got a file"
        raise typer.BadParameter(msg)
    found = find_scans(scans, pattern)
    checkpoint = load_checkpoint(model, device)
    with progress_over("predict", len(found)) as done:
        failures = predict_files(
            found,
            checkpoint,
            folder,
            preset=preset,
            load_brain=lambda volume: (
                load_mask(find_mask(brain_mask, volume), volume, "brain mask") if brain_mask else None
            ),
            draw=draw_overview,
            progress=done,
        )
    if len(failures) == len(found):
        raise SemcycleError(failures[0].reason if len(found) == 1 else _all_failed(failures))
    out.print(f"predictions: {folder} ({len(found) - len(failures)} of {len(found)} scans)")
    finish(failures, folder)


def _all_failed(failures: list[Any]) -> str:
    return f"all {len(failures)} scans failed, the first with: {failures[0].reason}"
