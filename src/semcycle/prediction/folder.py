"""Prediction of many scans, file to files: each finished scan is complete on disk, and is not done twice."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from semcycle.errors import Failure, SemcycleError
from semcycle.files import VERSION, file_hash, object_hash, read_json, write_bytes, write_failures, write_json
from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.volume import load_mask, load_volume, save_volume

RECORD = "run.json"
SUMMARY = "summary.csv"
COLUMNS = {
    "scan": "name",
    "lesion_ml": "lesion_ml",
    "components": "components",
    "largest_ml": "largest_ml",
    "mean_score": "mean_score",
    "p99_score": "p99_score",
    "brain_ml": "brain_ml",
    "threshold": "threshold",
    "flags": "flags",
    "seconds": "seconds",
}
"""Column of ``summary.csv`` -> key of a scan's entry in ``run.json``."""


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


def predict_files(
    scans: Mapping[str, Path],
    checkpoint: Checkpoint,
    out: Path,
    settings: PredictSettings = PredictSettings(),
    *,
    overwrite: bool = False,
    find_brain: Callable[[Path], Path | None] = lambda scan: None,
    draw: Callable[[Prediction, Path, str, Mapping[str, Any]], Sequence[str]] | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Failure]:
    """Predict scan files and write NIfTI on their grids.

    For every scan: ``<name>_anomaly.nii.gz``, ``_mask.nii.gz`` (with a threshold), ``_reconstruction.nii.gz``,
    ``_tissue.nii.gz`` (uint8, scaled to [0, 1]), what ``draw`` adds, an entry in ``run.json`` and a row of
    ``summary.csv``. A scan whose entry names the same content, model and settings is not done again.

    Args:
        scans: Name -> file.
        checkpoint: A trained run.
        out: Folder for the outputs.
        settings: How.
        overwrite: Do finished scans again.
        find_brain: File of a scan's brain mask, or ``None`` to find the brain.
        draw: Called with a prediction, ``out``, the scan's name and its entry; draws pages and pictures and returns
            their names.
        progress: Called with every finished scan's name.

    Returns:
        Scans that failed, also in ``failures.csv``; the others are done.
    """
    how = object_hash(
        [
            checkpoint.record["fingerprint"],
            settings.preset or checkpoint.preset,
            settings.threshold and list(astuple(settings.threshold)),
            settings.tta,
        ]
    )
    entries, failures = _complete(out), []
    for name, path in scans.items():
        started = time.perf_counter()
        try:
            mask = find_brain(path)
            content = file_hash(path) if mask is None else object_hash([file_hash(path), file_hash(mask)])
            before = entries.get(name)
            if overwrite or before is None or not _is_done(before, content, how, pages=draw is not None):
                volume = load_volume(path)
                prediction = predict_volume(
                    checkpoint,
                    volume,
                    load_mask(mask, volume, "brain mask") if mask else None,
                    preset=settings.preset,
                    threshold=settings.threshold,
                    tta=settings.tta,
                )
                entry = {"name": name, "content": content, "how": how, **_describe(prediction, checkpoint, path)}
                files = _write(prediction, out, name)
                entry["seconds"] = round(time.perf_counter() - started, 2)
                files += draw(prediction, out, name, entry) if draw else []
                entries[name] = {**entry, "files": files, "pages": draw is not None}
                _record(out, checkpoint, settings, entries)
                for stale in set(before["files"] if before else ()) - set(files):
                    (out / stale).unlink(missing_ok=True)  # such as the mask of a run with a threshold
        except (SemcycleError, OSError) as error:
            failures.append(Failure(name, str(error)))
        progress(name)
    if entries or out.is_dir():
        write_failures(out / "failures.csv", failures)
    return failures


def read_summary(out: Path) -> pd.DataFrame:
    """The table of a folder of predictions, a row a scan."""
    table = pd.read_csv(out / SUMMARY, dtype={"scan": str, "flags": str})
    return table.assign(flags=table["flags"].fillna(""))


def _complete(out: Path) -> dict[str, dict[str, Any]]:
    """Entries of the scans in the folder whose files are all there, however they were made."""
    try:
        return {
            entry["name"]: entry
            for entry in read_json(out / RECORD)["scans"]
            if all((out / file).is_file() for file in entry["files"])
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _is_done(entry: Mapping[str, Any], content: str, how: str, *, pages: bool) -> bool:
    """Whether a scan was predicted from the same content in the same way, with its pages where they are wanted."""
    return entry["content"] == content and entry["how"] == how and (entry["pages"] or not pages)


def _write(prediction: Prediction, out: Path, name: str) -> list[str]:
    text = f"semcycle {VERSION} "
    tissue, mask = prediction.tissue_native(), prediction.mask_native()
    made: dict[str, tuple[NDArray[Any] | None, str, float]] = {
        "anomaly": (prediction.anomaly_native(), "anomaly", 1),
        "mask": (mask, "lesion mask", 1),
        "reconstruction": (prediction.reconstruction_native(), "reconstruction", 1),
        "tissue": (None if tissue is None else np.rint(tissue * 255).astype(np.uint8), "GM WM CSF", 1 / 255),
    }
    files = []
    for what, (data, description, slope) in made.items():
        if data is not None:
            files.append(f"{name}_{what}.nii.gz")
            save_volume(out / files[-1], data, prediction.volume, description=text + description, slope=slope)
    return files


def _describe(prediction: Prediction, checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    scores = prediction.anomaly_native()[prediction.prepared.brain_native]
    found, threshold = prediction.components(), prediction.threshold
    return {
        "scan": path.name,
        "model": f"{checkpoint.recipe.name} ({checkpoint.record['fingerprint'][:12]})",
        "versions": _versions(),
        "shape": list(prediction.volume.shape),
        "spacing_mm": [round(step, 4) for step in prediction.volume.spacing],
        "flags": prediction.flags,
        "brain_ml": round(float(prediction.prepared.brain_native.sum() * prediction.volume.voxel_ml), 1),
        "lesion_ml": round(found.total_ml, 3) if found else None,
        "components": found.count if found else None,
        "largest_ml": round(found.largest_ml, 3) if found else None,
        "mean_score": round(float(scores.mean()), 5),
        "p99_score": round(float(np.percentile(scores, 99)), 5),
        "preset": prediction.preset,
        "threshold": round(threshold.value, 5) if threshold else None,
        "threshold_source": threshold.source if threshold else None,
        "grow": round(threshold.grow, 5) if threshold and threshold.grow is not None else None,
        "min_ml": threshold.min_ml if threshold else None,
        "preprocess": prediction.prepared.record.to_json(),
    }


def _versions() -> dict[str, str]:
    return {"semcycle": VERSION, "torch": torch.__version__, "numpy": np.__version__}


def _record(
    out: Path, checkpoint: Checkpoint, settings: PredictSettings, entries: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write ``run.json`` and ``summary.csv`` anew."""
    ordered = [entries[name] for name in sorted(entries)]
    record = {
        "semcycle": VERSION,
        "model": {
            "name": checkpoint.recipe.name,
            "method": checkpoint.recipe.method_name,
            "fingerprint": checkpoint.record["fingerprint"],
        },
        "preset": settings.preset or checkpoint.preset,
        "tta": settings.tta,
        "scores": "anomaly score in [0, 1]: difference to the healthy reconstruction in units of the intensity scale",
        "versions": _versions(),
        "scans": ordered,
    }
    write_json(out / RECORD, record)
    rows = [
        {
            column: "; ".join(value) if isinstance(value := entry.get(key), list) else value
            for column, key in COLUMNS.items()
        }
        for entry in ordered
    ]
    text = io.StringIO()
    pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(text, index=False)
    write_bytes(out / SUMMARY, text.getvalue().encode())
