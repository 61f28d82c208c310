"""The verb calibrate: healthy prior, thresholds and mask rules for a model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcycle.cli.options import FilePattern
from semcycle.cli.settings import Changes, read_presets
from semcycle.console import out, progress_over
from semcycle.errors import CheckpointError, StoreError

if TYPE_CHECKING:
    from semcycle.scoring.healthy_scans import HealthyScan
    from semcycle.training.calibration import Calibration
    from semcycle.training.checkpoint import Checkpoint


def calibrate(
    healthy: Annotated[
        list[Path],
        typer.Argument(help="Healthy scans: folders, files, or slice stores, whose lesions are left out."),
    ],
    model: Annotated[str, typer.Option(help="A bundled model, or a run folder made by `semcycle train`.")] = "",
    data: Annotated[
        Path | None,
        typer.Option(help="Slice store; the argument is then the run folder, calibrated in place."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for a copy of the model with the calibration.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Keep the calibration with the model itself.")] = False,
    preset: Annotated[
        str,
        typer.Option(
            help="Post-processing the model is meant to be used with: one of the presets below; auto is the model's."
        ),
    ] = "auto",
    changes: Changes = None,
    alpha: Annotated[float, typer.Option(min=1e-6, max=0.5, help="Share of healthy voxels a mask may take.")] = 0.01,
    max_false_components: Annotated[
        float, typer.Option(min=0.01, max=1e6, help="False components a scan that a mask may have.")
    ] = 2.0,
    grow_rate: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of the healthy voxels from whose score on a lesion grows.")
    ] = 0.02,
    min_ml: Annotated[
        float, typer.Option(min=0, max=1e6, help="Components below this volume are left out of masks.")
    ] = 0.1,
    keep_prior: Annotated[
        bool, typer.Option("--keep-prior", help="Keep the model's healthy prior: then promises are exact.")
    ] = False,
    allow_learned: Annotated[
        bool,
        typer.Option("--allow-learned", help="Also scans that the model learned from: nothing is promised then."),
    ] = False,
    split_file: Annotated[
        Path | None, typer.Option("--split", help="Split file: only its test cases of stores; without it all cases.")
    ] = None,
    pattern: FilePattern = "*",
    brain_mask: Annotated[
        Path | None, typer.Option(help="Folder of brain masks whose names begin with the scans' names.")
    ] = None,
    source: Annotated[str, typer.Option(help="The healthy data in words; their names without.")] = "",
) -> None:
    """Learn what a model finds in health: its prior, thresholds and mask rules, each with its promise."""
    from semcycle.scoring.calibrate import CalibrationSettings, calibrate_model
    from semcycle.training.checkpoint import load_checkpoint
    from semcycle.training.shipped import DEFAULT, find_model

    if data:
        model, healthy, in_place = str(healthy[0]), [data], True
    if in_place == bool(folder):
        msg = "expected either --out FOLDER for a calibrated copy of the model or --in-place"
        raise typer.BadParameter(msg)
    checkpoint = load_checkpoint(find_model(model or DEFAULT))
    if folder:
        _check_copy(checkpoint.folder, folder)
    (preset,) = read_presets([checkpoint.preset if preset == "auto" else preset], changes)
    checkpoint = _centre_as(healthy, checkpoint)
    scans, count = _list_scans(healthy, checkpoint, split_file, pattern, brain_mask)
    settings = CalibrationSettings(
        preset, alpha, max_false_components, grow_rate, min_ml, keep_prior=keep_prior, allow_learned=allow_learned
    )
    words = source or f"healthy voxels of {count} scans ({', '.join(path.name for path in healthy)})"
    with progress_over("calibrate", count) as done:
        calibrated = calibrate_model(checkpoint, scans, settings, words, progress=done)
    if folder:
        _copy_model(checkpoint.folder, folder)
    _print_cuts(calibrated.calibration)
    out.print(f"calibration: {calibrated.save(folder or checkpoint.folder)}")


def _centre_as(paths: list[Path], checkpoint: Checkpoint) -> Checkpoint:
    """The model with its slices centred as those of the stores are."""
    from semcycle.store.slice_store import MANIFEST, SliceStore

    centres = {path: SliceStore(path).preprocess.centre for path in paths if (path / MANIFEST).is_file()}
    if len(set(centres.values())) > 1:
        listed = ", ".join(f"{path} {centre}" for path, centre in centres.items())
        msg = f"expected stores of one centre, got {listed}; prepare them alike"
        raise StoreError(msg)
    if not centres:
        return checkpoint
    (centre,) = set(centres.values())
    return replace(checkpoint, preprocess=checkpoint.preprocess.model_copy(update={"centre": centre}))


def _list_scans(
    paths: list[Path], checkpoint: Checkpoint, split_file: Path | None, pattern: str, brain_mask: Path | None
) -> tuple[Iterator[HealthyScan], int]:
    """The scans of stores and folders, and how many they are."""
    from itertools import chain

    from semcycle.prediction.scans import find_mask, find_scans
    from semcycle.scoring.healthy_scans import check_store, read_files, read_store
    from semcycle.store.slice_store import MANIFEST, SliceStore
    from semcycle.store.split import read_split

    def find_brain(name: str, scan: Path) -> Path | None:
        return find_mask(brain_mask, name, scan) if brain_mask else None

    sources, count = [], 0
    for path in paths:
        if (path / MANIFEST).is_file():
            store = SliceStore(path)
            check_store(store, checkpoint.preprocess)
            tested = read_split(split_file).test if split_file else store.case_ids
            cases = [case for case in store.case_ids if case in tested]
            sources.append(read_store(store, cases))
            count += len(cases)
        else:
            files = find_scans(path, pattern)
            sources.append(read_files(files, checkpoint.preprocess, find_brain))
            count += len(files)
    return chain.from_iterable(sources), count


def _check_copy(model: Path, folder: Path) -> None:
    """Refuse a folder with another model, to which the calibration would not belong."""
    from semcycle.training.checkpoint import RECORD, WEIGHTS

    for name in (WEIGHTS, RECORD):
        if (folder / name).exists() and (folder / name).read_bytes() != (model / name).read_bytes():
            msg = f"{folder}: expected an empty folder or a copy of {model}, got another model; choose another --out"
            raise CheckpointError(msg)


def _copy_model(model: Path, folder: Path) -> None:
    """Copy the files that make a model, and the healthy prior it has."""
    from semcycle.files import write_bytes
    from semcycle.training.calibration import PRIOR
    from semcycle.training.checkpoint import RECORD, WEIGHTS
    from semcycle.training.shipped import CARD

    for name in (WEIGHTS, RECORD, CARD, PRIOR):
        if (model / name).is_file() and not (folder / name).exists():
            write_bytes(folder / name, (model / name).read_bytes())  # a killed copy leaves no half file


def _print_cuts(calibration: Calibration) -> None:
    """The cuts of the preset in use, each with its promise."""
    for cut in calibration.thresholds[calibration.preset]:
        promise = cut.promise.describe("share of healthy voxels") if cut.promise else ""
        out.print(f"fpr={cut.rate:g}: {cut.value:.4f} ({promise})")
    rule = calibration.masks[calibration.preset]
    out.print(f"mask: seed {rule.seed:.4f}, grows to {rule.grow:.4f}, from {rule.min_ml:g} ml on")
    out.print(f"  {rule.voxels.describe('share of healthy voxels in the mask')}")
    out.print(f"  {rule.components.describe('false components a scan')}")
