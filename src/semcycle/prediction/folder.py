"""Prediction of many scans, file to files: each finished scan is complete on disk, and is not done twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcycle.errors import Failure, LayoutError, VolumeError, WorkerError, catch_failure
from semcycle.files import VERSION, file_hash, object_hash, read_failures, write_failures
from semcycle.prediction.claims import claim_scan, lock_folder, sweep_claims
from semcycle.prediction.findings import FINDINGS, write_findings
from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.prediction.records import has_record, join_records, read_listed, read_record, write_record
from semcycle.prediction.scans import printable_name
from semcycle.processes import Workers, keep_memory, map_jobs
from semcycle.training.calibration import PRIOR, Threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.training.engines import TORCH
from semcycle.training.shipped import WEIGHTS
from semcycle.volume import image_files, load_mask, load_volume, save_volume
from semcycle.volume.masks import values_inside
from semcycle.volume.slabs import Slabs, cut_slabs

VERSIONS = {"semcycle": VERSION, "torch": torch.__version__, "numpy": np.__version__}


@dataclass(frozen=True)
class PredictSettings:
    """How scans are predicted.

    Attributes:
        preset: Post-processing; ``None`` for the model's own.
        threshold: Cuts the scores to a mask; ``None`` writes none.
        tta: Mean with the mirrored scan.
    """

    preset: str | None = None
    threshold: Threshold | None = None
    tta: bool = False


def find_no_mask(name: str, scan: Path) -> None:
    """No mask is given: the brain is found."""


def flat_file(name: str, what: str) -> str:
    """Where an image of a scan stands in a folder of predictions."""
    return f"{name}_{what}.nii.gz"


@dataclass(frozen=True)
class _Batch:
    """What all scans share; sent to every worker once."""

    checkpoint: Checkpoint
    out: Path
    settings: PredictSettings
    overwrite: bool
    find_brain: Callable[[str, Path], Path | None]
    draw: Callable[[Prediction, Path, str, Mapping[str, Any]], Sequence[str]] | None
    listed: Mapping[str, Any]
    head: Mapping[str, Any]
    how: str
    model: str
    notes: Mapping[str, Mapping[str, Any]]
    place: Callable[[str, str], str]


def predict_files(
    scans: Mapping[str, Path],
    checkpoint: Checkpoint,
    out: Path,
    settings: PredictSettings = PredictSettings(),
    *,
    overwrite: bool = False,
    find_brain: Callable[[str, Path], Path | None] = find_no_mask,
    draw: Callable[[Prediction, Path, str, Mapping[str, Any]], Sequence[str]] | None = None,
    progress: Callable[[str], None] = lambda name: None,
    workers: Workers | None = None,
    notes: Mapping[str, Mapping[str, Any]] | None = None,
    place: Callable[[str, str], str] = flat_file,
) -> list[Failure]:
    """Predict scan files and write NIfTI on their grids.

    For every scan: ``<name>_anomaly.nii.gz``, ``_mask.nii.gz`` and ``_findings.csv`` (with a threshold),
    ``_reconstruction.nii.gz``, ``_tissue.nii.gz`` (uint8, scaled to [0, 1]), what ``draw`` adds, and
    ``<name>_record.json``; at the end ``run.json`` and ``summary.csv`` of all. A scan whose record names the same
    content, model and settings is not done again. Several jobs may fill one folder: a scan that another is at is left
    to it.

    Args:
        scans: Name -> file.
        checkpoint: A trained run.
        out: Folder for the outputs.
        settings: How.
        overwrite: Do finished scans again.
        find_brain: Name and file of a scan -> file of its brain mask, or ``None`` to find the brain.
        draw: Called with a prediction, ``out``, the scan's name and its record; draws pages and pictures and returns
            their names.
        progress: Called with every finished scan's name.
        workers: Processes with one thread each, or a Dask cluster; outputs are the same bytes, however many there are.
            ``None`` for this process with all its threads. With several, ``find_brain`` and ``draw`` are functions of
            modules.
        notes: Name of a scan -> what else its record holds, such as the DICOM series it was.
        place: Name of a scan, and what an image is (``anomaly``, ``mask``, ...) -> its file below ``out``.

    Returns:
        Scans that failed, also in ``failures.csv``; the others are done, or claimed by another job.
    """
    how, model, head = _settings_hash(checkpoint, settings), _model_hash(checkpoint), _head(checkpoint, settings)
    if place is not flat_file:  # a scan that stands elsewhere is done again
        how = object_hash([how, "placed"])
    listed = {name: scan for name, scan in read_listed(out).items() if name in scans and not has_record(out, name)}
    batch = _Batch(checkpoint, out, settings, overwrite, find_brain, draw, listed, head, how, model, notes or {}, place)
    failures, tried = list[Failure](), set[str]()
    threads = torch.get_num_threads()
    try:
        for (name, path), outcome in map_jobs(
            _attempt if workers is None else _attempt_alone, batch, scans.items(), workers or 1
        ):
            tried.add(name)
            failures += [Failure(name, str(outcome), (path,))] if isinstance(outcome, WorkerError) else outcome
            progress(name)
    finally:
        torch.set_num_threads(threads)
        order = list(scans)
        failures.sort(key=lambda failure: order.index(failure.case_id))
        if failures or out.is_dir():
            sweep_claims(out)
            with lock_folder(out):
                join_records(out)
                write_failures(out / "failures.csv", [*_other_failures(out, tried), *failures])
    return failures


def _other_failures(out: Path, tried: set[str]) -> list[Failure]:
    """Failures of other jobs in the folder; a damaged table holds none."""
    with suppress(LayoutError):
        return [failure for failure in read_failures(out / "failures.csv") if failure.case_id not in tried]
    return []


def _attempt_alone(batch: _Batch, job: tuple[str, Path]) -> list[Failure]:
    """In one thread: sums in another order have other last digits."""
    torch.set_num_threads(1)
    return _attempt(batch, job)


def _attempt(batch: _Batch, job: tuple[str, Path]) -> list[Failure]:
    """Predict a scan unless it is finished, or another job is at it; its failure, if it has one."""
    (name, path), failures = job, list[Failure]()
    files: list[Path | None] = [path]
    with catch_failure(name, failures, files):
        mask = batch.find_brain(name, path)
        files.append(mask)
        content = _content_hash(path, mask)
        if batch.overwrite or not _is_finished(batch, name, content):
            with claim_scan(batch.out, name) as is_ours:
                if is_ours and (batch.overwrite or not _is_finished(batch, name, content)):
                    _predict_scan(batch, name, path, mask, content)
    return failures


def _is_finished(batch: _Batch, name: str, content: str) -> bool:
    before = read_record(batch.out, name, batch.listed)
    return _is_done(before, content, batch.how, batch.model, pages=batch.draw is not None)


def _predict_scan(batch: _Batch, name: str, path: Path, mask: Path | None, content: str) -> None:
    started = time.perf_counter()
    out, draw, settings = batch.out, batch.draw, batch.settings
    before = read_record(out, name, batch.listed)
    volume = load_volume(path)
    if len(cut_slabs(volume.shape)) == 1:  # a large scan needs what the smaller parts of it leave
        keep_memory()
    prediction = predict_volume(
        batch.checkpoint,
        volume,
        load_mask(mask, volume, "brain mask") if mask else None,
        preset=settings.preset,
        threshold=settings.threshold,
        tta=settings.tta,
    )
    if before:
        write_record(out, batch.head, {"name": name})  # from here on its files are old and new
    record: dict[str, Any] = {"name": name, "content": content, "how": batch.how, "weights": batch.model}
    record |= {**_describe(prediction, batch.checkpoint, path), **batch.notes.get(name, {})}
    files = _write(prediction, out, name, batch.place)
    record["seconds"] = round(time.perf_counter() - started, 2)
    files += draw(prediction, out, name, record) if draw else []
    for stale in set(before["files"] if before else ()) - set(files):
        if ".." not in Path(stale).parts and not Path(stale).is_absolute():
            (out / stale).unlink(missing_ok=True)  # such as the mask of a run with a threshold
    write_record(out, batch.head, {**record, "files": files, "pages": draw is not None})


def _settings_hash(checkpoint: Checkpoint, settings: PredictSettings) -> str:
    """Of model and settings; what is newer than f4e7b19 counts where it is used, so that old scans stay finished."""
    threshold = settings.threshold
    cut: list[Any] | None = None
    if threshold:
        cut = [threshold.value, threshold.source]
        if threshold != Threshold(threshold.rule, threshold.value, threshold.source):
            cut += [threshold.grow, threshold.min_ml]
    preset = settings.preset or checkpoint.preset
    calibration = checkpoint.calibration
    carried = [calibration.prior, calibration.largest_residual] if calibration else []
    carried += _other_engine(checkpoint)
    carried += [] if checkpoint.preprocess.skull == "auto" else [checkpoint.preprocess.skull]
    return object_hash([checkpoint.record["fingerprint"], preset, cut, settings.tta, *filter(None, carried)])


def _model_hash(checkpoint: Checkpoint) -> str:
    """Of the files that scores are made with: the run record's fingerprint says what was trained, not what came out."""
    files = [checkpoint.folder / WEIGHTS, checkpoint.folder / PRIOR]
    return object_hash([file_hash(file) if file.is_file() else None for file in files])


def _other_engine(checkpoint: Checkpoint) -> list[Any]:
    """Of the model's networks, where it is not torch: its last digits differ."""
    return [] if checkpoint.engine == TORCH else [checkpoint.engine]


def _content_hash(path: Path, mask: Path | None) -> str:
    """Of all files that a scan, and its mask, consist of.

    Raises:
        VolumeError: One is not there.
    """
    files = [*image_files(path), *(image_files(mask) if mask else [])]
    for file in files:
        if not file.is_file():
            what = "a link to a file that is not here" if file.is_symlink() else "none that can be read"
            msg = f"{file}: expected an image file, got {what}; fetch its content, or check the path"
            raise VolumeError(msg)
    hashes = [file_hash(file) for file in files]
    return hashes[0] if len(hashes) == 1 else object_hash(hashes)


def _is_done(record: Mapping[str, Any] | None, content: str, how: str, model: str, *, pages: bool) -> bool:
    """Whether a scan was predicted from the same content in the same way, with its pages where they are wanted.

    Records of older versions do not name the weights; theirs are taken to be the same.
    """
    if record is None or record.get("content") != content or record.get("how") != how:
        return False
    if record.get("weights", model) != model:
        return False
    return bool(record.get("pages")) or not pages


def _write(prediction: Prediction, out: Path, name: str, place: Callable[[str, str], str]) -> list[str]:
    def tissue(part: slice, index: int) -> NDArray[np.uint8]:
        shares = prediction.tissue_map(index, part)
        shares *= 255
        return np.rint(shares, out=shares).astype(np.uint8)

    outputs: dict[str, tuple[str, type, Callable[[slice, int], Any]]] = {
        "anomaly": ("anomaly", np.float32, lambda part, _: prediction.anomaly_native(part)),
        "mask": ("lesion mask", np.bool_, lambda part, _: prediction.mask_native(part)),
        "reconstruction": ("reconstruction", np.float32, lambda part, _: prediction.reconstruction_native(part)),
        "tissue": ("GM WM CSF", np.uint8, tissue),
    }
    if prediction.threshold is None:
        del outputs["mask"]
    if prediction.tissue is None:
        del outputs["tissue"]
    files = []
    for what, (words, dtype, make) in outputs.items():
        shape, slope = ((*prediction.volume.shape, 3), 1 / 255) if what == "tissue" else (prediction.volume.shape, 1)
        files.append(place(name, what))
        slabs = Slabs(shape, np.dtype(dtype), make)
        save_volume(out / files[-1], slabs, prediction.volume, description=f"semcycle {VERSION} {words}", slope=slope)
    if prediction.threshold:
        files.append(write_findings(out / f"{name}{FINDINGS}", prediction.findings).name)
    return files


def _describe(prediction: Prediction, checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    volume, brain = prediction.volume, prediction.prepared.brain_native
    components, threshold = prediction.components(), prediction.threshold
    parts = cut_slabs(volume.shape)
    scores = np.concatenate([values_inside(prediction.anomaly_native(part), brain[:, :, part]) for part in parts])
    return {
        "scan": printable_name(path.name),
        "model": f"{checkpoint.recipe.name} ({checkpoint.record['fingerprint'][:12]})",
        "versions": VERSIONS,
        "shape": list(prediction.volume.shape),
        "spacing_mm": [round(step, 4) for step in prediction.volume.spacing],
        "flags": prediction.flags,
        "brain_ml": round(float(prediction.prepared.brain_native.sum() * prediction.volume.voxel_ml), 1),
        "lesion_ml": round(components.total_ml, 3) if components else None,
        "components": components.count if components else None,
        "largest_ml": round(components.largest_ml, 3) if components else None,
        "mean_score": round(float(scores.mean()), 5),
        "p99_score": round(float(np.percentile(scores, 99)), 5),
        "preset": prediction.preset,
        "threshold": round(threshold.value, 5) if threshold else None,
        "threshold_source": threshold.source if threshold else None,
        "grow": round(threshold.grow, 5) if threshold and threshold.grow is not None else None,
        "min_ml": threshold.min_ml if threshold else None,
        "preprocess": prediction.prepared.record.to_json(),
    }


def _head(checkpoint: Checkpoint, settings: PredictSettings) -> dict[str, Any]:
    """What holds for all scans of a run."""
    return {
        "semcycle": VERSION,
        "model": {
            "name": checkpoint.recipe.name,
            "method": checkpoint.recipe.method_name,
            "fingerprint": checkpoint.record["fingerprint"],
        },
        "preset": settings.preset or checkpoint.preset,
        "tta": settings.tta,
        **({"engine": checkpoint.engine} if _other_engine(checkpoint) else {}),
        "scores": "anomaly score in [0, 1]: difference to the healthy reconstruction in units of the intensity scale",
        "versions": VERSIONS,
    }
