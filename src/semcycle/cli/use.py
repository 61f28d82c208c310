"""Verbs that use a trained model: predict, calibrate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from semcycle.cli.options import Data, Device, Out, finish
from semcycle.console import out, progress_over
from semcycle.errors import SemcycleError
from semcycle.training.shipped import DEFAULT, find_model


def predict(
    scans: Annotated[Path, typer.Argument(help="A T2 scan, a folder of them, or a BIDS dataset.")],
    folder: Out,
    model: Annotated[str, typer.Option(help="A bundled model, or a run folder made by `semcycle train`.")] = DEFAULT,
    threshold: Annotated[
        str, typer.Option(help="Of the lesion mask: fpr=0.01, a score, none; auto is the model's fpr=0.01.")
    ] = "auto",
    pattern: Annotated[str, typer.Option(help="Which files of a folder are scans, such as *_t2.nii.gz.")] = "*",
    preset: Annotated[
        str,
        typer.Option(
            help="Post-processing: literal, baur, or with changes: literal,median_mm=5; auto is the model's own."
        ),
    ] = "auto",
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask of the scan, or a folder of masks whose names begin with the scans' names."),
    ] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Mean with the mirrored scan: twice the network's time.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Maps, mask and tables only: no report pages.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished scans again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary for machines.")] = False,
    device: Device = "cpu",
) -> None:
    """Find anomalies in scans: maps, lesion mask, tissue and healthy reconstruction on their own grids, and a report."""
    import json

    from semcycle.prediction.folder import PredictSettings, predict_files, read_summary
    from semcycle.prediction.postprocess import find_preset
    from semcycle.prediction.scans import find_mask, find_scans
    from semcycle.report.folder_page import write_index
    from semcycle.report.scan_page import draw_scan
    from semcycle.training.calibration import find_threshold
    from semcycle.training.checkpoint import load_checkpoint

    if preset != "auto":
        find_preset(preset)
    if brain_mask and scans.is_dir() and not brain_mask.is_dir():
        msg = "expected a folder of masks with --brain-mask for a folder of scans, got a file"
        raise typer.BadParameter(msg)
    found = find_scans(scans, pattern)
    checkpoint = load_checkpoint(find_model(model), device)
    chosen = checkpoint.preset if preset == "auto" else preset
    cut = find_threshold(threshold, checkpoint.calibration, chosen, model)
    with progress_over("predict", len(found)) as done:
        failures = predict_files(
            found,
            checkpoint,
            folder,
            PredictSettings(chosen, cut, tta),
            overwrite=overwrite,
            find_brain=lambda scan: find_mask(brain_mask, scan) if brain_mask else None,
            draw=None if fast else draw_scan,
            progress=done,
        )
    if len(failures) == len(found):
        raise SemcycleError(failures[0].reason if len(found) == 1 else _all_failed(failures))
    if as_json:
        out.print_json(json.dumps(json.loads(read_summary(folder).to_json(orient="records"))))
    else:
        out.print(f"predictions: {folder} ({len(found) - len(failures)} of {len(found)} scans)")
        out.print(f"table: {folder}/summary.csv")
        if not fast:
            out.print(f"report: {write_index(folder, failures)}")
    finish(failures, folder)


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder made by `semcycle train`.")],
    data: Data,
    preset: Annotated[str, typer.Option(help="Post-processing the model is meant to be used with.")] = "literal",
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

    store, checkpoint = SliceStore(data), load_checkpoint(run)
    cases = [case for case in read_split(split_file).test if case in store.case_ids] if split_file else store.case_ids
    words = source or f"healthy voxels of {len(cases)} cases ({store.settings['cohort']})"
    with progress_over("calibrate", len(cases)) as done:
        found = find_thresholds(checkpoint, store, cases, preset, words, progress=done)
    for one in found.thresholds[preset]:
        out.print(f"fpr={one.rate:g}: {one.value:.4f} (GM {one.gm}, WM {one.wm}, CSF {one.csf})")
    out.print(f"calibration: {found.save(run)}")


def export(
    run: Annotated[Path, typer.Argument(help="Run folder made by `semcycle train`.")],
    folder: Out,
) -> None:
    """Pack a run for others: half-precision weights, its record and its thresholds."""
    from semcycle.training.checkpoint import export_checkpoint

    made = export_checkpoint(run, folder)
    out.print(f"model: {made} ({made.stat().st_size / 1e6:.1f} MB)")


def _all_failed(failures: list[Any]) -> str:
    return f"all {len(failures)} scans failed, the first with: {failures[0].reason}"
