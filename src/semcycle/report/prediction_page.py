"""Prediction page: the page of a scan that a model was run on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semcycle import __version__
from semcycle.prediction import Prediction
from semcycle.report.folder_page import page_name
from semcycle.report.overview import overview_figure
from semcycle.report.scan_page import ScanReport, write_scan_page


def describe_prediction(prediction: Prediction, name: str, facts: Mapping[str, Any] | None = None) -> ScanReport:
    """Gather what a prediction's page shows.

    Args:
        prediction: Of one scan.
        name: The scan's name.
        facts: What the prediction itself does not know: the model, versions, the file; shown before its own facts.
    """
    prepared, threshold = prediction.prepared, prediction.threshold
    record = prepared.record
    own = {
        "post-processing": prediction.preset,
        "threshold": f"{threshold.value:.4g} ({threshold.source})" if threshold else "none",
        "brain mask": record.brain.method,
        "working grid": f"{record.grid.size} x {record.grid.size} pixels of {record.grid.pixel_mm:g} mm a slice",
        "bias field": "corrected (N4)" if record.bias_range else "left as it was",
        "semcycle": __version__,
    }
    return ScanReport(
        name=name,
        image=prediction.volume.data,
        affine=prediction.volume.affine,
        brain=prepared.brain_native,
        scores=prediction.anomaly_native(),
        reconstruction=prediction.reconstruction_native(),
        tissue=prediction.tissue_native(),
        lesion=prediction.mask_native(),
        threshold=threshold.value if threshold else None,
        threshold_source=threshold.source if threshold else "",
        flags=(*prediction.volume.warnings, *record.brain.warnings),
        facts={**(facts or {}), **own},
        overview=overview_figure(
            prepared.image, prediction.tissue, prediction.reconstruction, prediction.scores, prepared.brain
        ),
    )


def write_prediction_page(
    prediction: Prediction, out: Path, name: str, facts: Mapping[str, Any] | None = None, *, index: str = ""
) -> Path:
    """Write ``<name>_report.html`` into a folder; arguments as :func:`describe_prediction` and :func:`write_scan_page`."""
    return write_scan_page(out / page_name(name), describe_prediction(prediction, name, facts), index=index)
