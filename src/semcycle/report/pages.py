"""What a prediction leaves to look at: an overview picture and a page a scan, and a page a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semcycle.errors import Failure
from semcycle.files import read_json
from semcycle.prediction.folder import RECORD, read_summary
from semcycle.prediction.prediction import Prediction
from semcycle.report.canvas import save_figure
from semcycle.report.folder_page import write_folder_page
from semcycle.report.overview import overview_figure
from semcycle.report.scan_page import ScanReport, write_scan_page

SHOWN = {
    "scan": "file",
    "model": "model",
    "shape": "voxels",
    "spacing_mm": "voxel size in mm",
    "brain_ml": "brain in ml",
    "lesion_ml": "lesion mask in ml",
    "components": "components of the mask",
    "largest_ml": "largest component in ml",
    "mean_score": "mean score in the brain",
    "p99_score": "99th percentile of the scores",
    "preset": "post-processing",
    "threshold": "threshold",
    "threshold_source": "where the threshold comes from",
    "seconds": "seconds, without this page",
    "versions": "versions",
}
"""Keys of a scan's entry in ``run.json`` -> words on its page."""


def draw_scan(prediction: Prediction, out: Path, name: str, entry: Mapping[str, Any]) -> list[str]:
    """Write ``<name>_overview.png`` and ``<name>_report.html``.

    Args:
        prediction: Of the scan.
        out: Folder.
        name: The scan's.
        entry: Its entry in ``run.json``.

    Returns:
        Names of the files.
    """
    prepared, volume, threshold = prediction.prepared, prediction.volume, prediction.threshold
    figure = overview_figure(
        prepared.image,
        prediction.tissue,
        prediction.reconstruction,
        prediction.scores,
        prepared.brain,
        None if threshold is None else (prediction.scores >= threshold.value) & prepared.brain,
    )
    picture = save_figure(figure, out / f"{name}_overview")[0]
    report = ScanReport(
        name=name,
        image=volume.data,
        affine=volume.affine,
        brain=prepared.brain_native,
        scores=prediction.anomaly_native(),
        reconstruction=prediction.reconstruction_native(),
        tissue=prediction.tissue_native(),
        lesion=prediction.mask_native(),
        threshold=None if threshold is None else threshold.value,
        threshold_source="" if threshold is None else threshold.source,
        flags=entry["flags"],
        facts={words: entry[key] for key, words in SHOWN.items() if entry.get(key) is not None}
        | {"brain mask": entry["preprocess"]["brain"]["method"]},
        overview=picture,
    )
    page = write_scan_page(out / f"{name}_report.html", report, index="index.html")
    return [picture.name, page.name]


def write_index(out: Path, failures: Sequence[Failure] = ()) -> Path:
    """Write ``index.html`` of a folder of predictions.

    Args:
        out: The folder.
        failures: Scans that could not be done.

    Returns:
        The page.
    """
    record = read_json(out / RECORD)
    facts = {key: record[key] for key in ("model", "preset", "tta", "scores", "versions")}
    facts["model"] = {**record["model"], "fingerprint": record["model"]["fingerprint"][:12]}
    return write_folder_page(out, read_summary(out), facts=facts, failures=failures)
