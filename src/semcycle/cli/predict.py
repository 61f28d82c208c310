"""The verb predict: maps, masks and reports of scans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from semcycle.cli.options import Crew, Dask, Device, FilePattern, choose_workers, complete_models, finish
from semcycle.cli.settings import Changes, read_presets
from semcycle.console import err, out, progress_over
from semcycle.errors import EmptyMaskError, Failure, SemcycleError, VolumeError
from semcycle.preprocess.skull import Skull
from semcycle.training.shipped import DEFAULT

if TYPE_CHECKING:
    from semcycle.prediction.dicom_scan import DicomScan
    from semcycle.training.checkpoint import Checkpoint


def predict(
    scans: Annotated[
        Path,
        typer.Argument(
            help="A T2 scan, a folder of them, a BIDS dataset, or a folder of DICOM files: a series, or a whole study."
        ),
    ],
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for what is made; derivatives/semcycle of a BIDS dataset without."),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="A bundled model, a run folder made by `semcycle train`, or intensity: the scan's own brightness, "
            "prepared and post-processed as the default model does; intensity=MODEL as another.",
            autocompletion=complete_models,
        ),
    ] = DEFAULT,
    threshold: Annotated[
        str, typer.Option(help="Of the lesion mask: fpr=0.01, a score, none; auto is the model's fpr=0.01.")
    ] = "auto",
    pattern: FilePattern = "*",
    preset: Annotated[
        str,
        typer.Option(
            help="Post-processing: one of the presets below, or with changes: literal,median_mm=5; auto is the model's."
        ),
    ] = "auto",
    changes: Changes = None,
    brain_mask: Annotated[
        Path | None,
        typer.Option(help="Brain mask of the scan, or a folder of masks whose names begin with the scans' names."),
    ] = None,
    skull: Annotated[
        str,
        typer.Option(
            help=f"What finds the brain under a skull: {', '.join(get_args(Skull))}; auto is HD-BET where it "
            "is installed, and else BET."
        ),
    ] = "auto",
    tta: Annotated[bool, typer.Option("--tta", help="Mean with the mirrored scan: twice the network's time.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="Maps, mask and tables only: no report pages.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do finished scans again.")] = False,
    workers: Crew = None,
    dask: Dask = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary for machines.")] = False,
    series: Annotated[
        str, typer.Option(help="Which series of a DICOM study, where several or none look T2 weighted.")
    ] = "",
    dicom_seg: Annotated[
        bool, typer.Option("--dicom-seg", help="Of a DICOM series: the lesion mask as DICOM SEG as well.")
    ] = False,
    keep_patient: Annotated[
        bool,
        typer.Option(
            "--keep-patient",
            help="In the DICOM SEG: the patient's name, number, birth date and sex, by which an archive files it.",
        ),
    ] = False,
    layout: Annotated[
        str,
        typer.Option(
            help="bids: sub-*/anat/*_desc-anomaly_probseg.nii.gz and a JSON beside each; flat: NAME_anomaly.nii.gz; "
            "auto is bids for a BIDS dataset."
        ),
    ] = "auto",
    participants: Annotated[
        list[str] | None, typer.Option("--participant-label", help="Only this subject of a BIDS dataset; repeatable.")
    ] = None,
    device: Device = "cpu",
    engine: Annotated[
        str,
        typer.Option(
            help="What computes the networks: torch; bfloat16: torch with shorter numbers; onnx or openvino after "
            "installing these extras; auto is bfloat16 where the processor has units for it (AMX), and else torch."
        ),
    ] = "auto",
) -> None:
    """Find anomalies in scans: maps, lesion mask, tissue, healthy reconstruction on the scans' grids, and a report."""
    import json
    from functools import partial

    from semcycle.prediction.bids_layout import describe_derivatives, find_places, keep_participants
    from semcycle.prediction.folder import PredictSettings, find_no_mask, flat_file, predict_files
    from semcycle.prediction.postprocess import find_preset
    from semcycle.prediction.records import RUN, finished_names, read_summary
    from semcycle.prediction.scans import find_mask
    from semcycle.report.folder_page import write_index
    from semcycle.report.scan_page import draw_scan
    from semcycle.training.calibration import find_threshold
    from semcycle.training.engines import use_engine
    from semcycle.training.models import open_model, use_skull

    if layout not in ("auto", "bids", "flat"):
        msg = f"expected --layout auto, bids or flat, got {layout}"
        raise typer.BadParameter(msg)
    folder = folder or _default_folder(scans, layout)
    files, dicom = _find_files(scans, pattern, series, folder)
    files = keep_participants(files, participants or (), scans)
    places = None if dicom else find_places(scans, files, layout)
    if brain_mask and scans.is_dir() and not dicom and not brain_mask.is_dir():
        msg = "expected a folder of masks with --brain-mask for a folder of scans, got a file"
        raise typer.BadParameter(msg)
    if dicom_seg and not dicom:
        msg = f"expected a DICOM folder for --dicom-seg, got {scans}; leave the option out"
        raise typer.BadParameter(msg)
    if keep_patient and not dicom_seg:
        msg = "expected --dicom-seg with --keep-patient, got none; nothing else that is written names the patient"
        raise typer.BadParameter(msg)
    checkpoint = use_engine(use_skull(open_model(model, device), skull), engine)
    (preset,) = read_presets([checkpoint.preset if preset == "auto" else preset], changes)
    find_preset(preset)
    settings = PredictSettings(preset, find_threshold(threshold, checkpoint.calibration, preset, model), tta)
    with progress_over("predict", len(files)) as done:
        failures = predict_files(
            files,
            checkpoint,
            folder,
            settings,
            overwrite=overwrite,
            find_brain=partial(find_mask, brain_mask) if brain_mask else find_no_mask,
            draw=None if fast else draw_scan,
            progress=done,
            workers=choose_workers(workers, dask),
            notes={dicom.name: {"series": dicom.choice}} if dicom else {},
            place=places or flat_file,
        )
    if places and (folder / RUN).is_file():
        describe_derivatives(folder, places)
    if len(failures) == len(files):
        _refuse_nothing(failures)
    if as_json:
        out.print_json(json.dumps(json.loads(read_summary(folder).to_json(orient="records"))))
    else:
        left = set(files) - set(finished_names(folder)) - {failure.case_id for failure in failures}
        out.print(f"predictions: {folder} ({len(files) - len(failures) - len(left)} of {len(files)} scans)")
        if left:
            out.print(f"{len(left)} scans are left to another job; the same command does what that leaves")
        out.print(f"table: {folder}/summary.csv")
        if not fast:
            out.print(f"report: {write_index(folder)}")
    if dicom_seg and dicom and not failures:
        _write_seg(dicom, folder, checkpoint, keep_patient=keep_patient)
    _show_flags(folder, files)
    finish(failures, folder)


def _default_folder(scans: Path, layout: str) -> Path:
    """The derivatives of a BIDS dataset; other scans have no folder of their own."""
    from semcycle.prediction.bids_layout import DERIVATIVES
    from semcycle.prediction.scans import find_bids_root

    root = find_bids_root(scans) if scans.is_dir() and layout != "flat" else None
    if root is None:
        msg = "expected a folder for the outputs with --out, got none; only a BIDS dataset has one of its own"
        raise typer.BadParameter(msg)
    return root / DERIVATIVES


def _find_files(scans: Path, pattern: str, series: str, folder: Path) -> tuple[Mapping[str, Path], DicomScan | None]:
    """The scans by name; where there are none but DICOM files, the T2 series among these, converted."""
    from semcycle.prediction.scans import find_scans
    from semcycle.volume.dicom import holds_dicom

    try:
        if not series and (scans.is_dir() or not holds_dicom(scans)):
            return find_scans(scans, pattern), None
    except VolumeError:
        if not scans.is_dir() or not holds_dicom(scans):
            raise
    from semcycle.prediction.dicom_scan import convert_folder

    dicom = convert_folder(scans, series, folder)
    err.print(f"series {dicom.choice}", soft_wrap=True)
    return {dicom.name: dicom.path}, dicom


def _write_seg(dicom: DicomScan, folder: Path, checkpoint: Checkpoint, *, keep_patient: bool) -> None:
    """Write a DICOM SEG; of an empty mask there can be none, which is no failure."""
    from semcycle.prediction.dicom_scan import write_dicom_seg

    try:
        path = write_dicom_seg(dicom, folder, checkpoint.recipe.name, keep_patient=keep_patient)
    except EmptyMaskError as error:
        err.print(str(error), soft_wrap=True)
    else:
        err.print(f"dicom seg: {path}")


def _show_flags(folder: Path, names: Iterable[str]) -> None:
    """Say on the terminal what is doubtful about the scans."""
    from semcycle.prediction.records import read_summary

    flags = read_summary(folder).set_index("scan")["flags"]
    for name in names:
        if flags.get(name):
            err.print(f"doubtful {name}: {flags[name]}")


def _refuse_nothing(failures: list[Failure]) -> None:
    """Where no scan could be predicted the first reason is the error."""
    if len(failures) == 1:
        raise SemcycleError(failures[0].reason)
    msg = f"all {len(failures)} scans failed, the first with: {failures[0].reason}"
    raise SemcycleError(msg)
