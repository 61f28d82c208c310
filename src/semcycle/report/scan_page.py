"""Scan page: what was found in one scan, as one HTML file with an interactive viewer that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from numpy.typing import NDArray

from semcycle.prediction.prediction import Prediction
from semcycle.report.canvas import ANOMALY_MAP, save_figure
from semcycle.report.findings_grid import findings_grid
from semcycle.report.histogram import draw_histogram
from semcycle.report.html import RESEARCH_ONLY, RESIDUAL_LIMITS, embed_picture, list_facts, write_html
from semcycle.report.overview import overview_figure, thumbnail_figure
from semcycle.report.viewer import embed_viewer

LIMITS = (
    *RESIDUAL_LIMITS,
    "A threshold holds for scans like those it was set on; another scanner or sequence may shift the scores.",
    RESEARCH_ONLY,
)

FACTS = {
    "scan": "file",
    "series": "DICOM series",
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
    "grow": "pieces grow to scores from",
    "min_ml": "least piece of the mask in ml",
    "seconds": "seconds, without this page",
    "versions": "versions",
}
"""Keys of a scan's record -> words on its page."""

THUMBNAIL = "_thumbnail"
"""Ending of the picture that the folder's page shows of a scan."""


def draw_scan(prediction: Prediction, out: Path, name: str, record: Mapping[str, Any]) -> list[str]:
    """Write ``<name>_overview.png``, ``_thumbnail.png`` and ``_report.html``, linked to the folder's ``index.html``.

    Args:
        prediction: Of the scan.
        out: Folder.
        name: The scan's.
        record: What was noted of the scan: its entry in ``run.json``.

    Returns:
        Names of the files.
    """
    picture = save_figure(overview_figure(prediction), out / f"{name}_overview")[0]
    page = write_scan_page(out / page_name(name), prediction, name, record, overview=picture, index="index.html")
    thumbnail = save_figure(thumbnail_figure(prediction), out / f"{name}{THUMBNAIL}")[0]
    return [picture.name, thumbnail.name, page.name]


def page_name(scan: str) -> str:
    """File of a scan's page."""
    return f"{scan}_report.html"


def write_scan_page(
    path: Path,
    prediction: Prediction,
    name: str,
    record: Mapping[str, Any],
    *,
    overview: Path | None = None,
    index: str = "",
) -> Path:
    """Write one self-contained HTML file, atomically; the same prediction gives the same bytes.

    Args:
        path: ``<name>_report.html``.
        prediction: What to show.
        name: The scan's: the heading of the page.
        record: What was noted of the scan, for the list of facts; of keys in ``FACTS``.
        overview: PNG file of the mosaic, see :func:`semcycle.report.overview.overview_figure`.
        index: Address of the folder's page beside it (``index.html``), linked from the page; none without.

    Returns:
        The file.

    Raises:
        ScoringError: The overview is no PNG.
    """
    scores = np.asarray(prediction.anomaly_native()[prediction.prepared.brain_native], np.float64)
    threshold = prediction.threshold
    viewer = embed_viewer(prediction)
    facts = {words: record[key] for key, words in FACTS.items() if record.get(key) is not None}
    content = {
        "name": name,
        "index": quote(index),
        "intro": _introduce(prediction),
        "tiles": _tiles(prediction, scores),
        "flags": prediction.flags,
        "findings": findings_grid(prediction.findings),
        "no_findings": threshold is not None and not prediction.findings,
        "overview": None if overview is None else _overview(overview, prediction),
        "histogram": draw_histogram(scores, threshold.value if threshold else None),
        "threshold_source": threshold.source if threshold else "",
        "facts": list_facts(facts | {"brain mask": prediction.prepared.record.brain.method}),
        "limits": LIMITS,
        "gradient": _gradient(viewer["settings"]["scores"]),
        **viewer,
    }
    return write_html(path, "scan.html.jinja", content)


def _introduce(prediction: Prediction) -> str:
    volume, threshold = prediction.volume, prediction.threshold
    spacing = " x ".join(f"{step:.3g}" for step in volume.spacing)
    size = f"{' x '.join(map(str, volume.shape))} voxels of {spacing} mm."
    if threshold is None:
        return f"Anomaly scores without a threshold. {size}"
    called = f"Anomaly scores of at least {threshold.value:.3g} ({threshold.source}) are called lesion"
    if threshold.grow is not None:
        called += f", with what touches them from {threshold.grow:.3g} on"
    return f"{called}. Pieces below {threshold.min_ml:g} ml are left out. {size}"


def _tiles(prediction: Prediction, scores: NDArray[np.float64]) -> list[tuple[str, str, str]]:
    """Label, figure and unit of what stands at the top."""
    components, threshold = prediction.components(), prediction.threshold
    tiles = [
        ("mean score", f"{scores.mean():.3g}", ""),
        ("brain", f"{scores.size * prediction.volume.voxel_ml:.0f}", "ml"),
    ]
    if components is None or threshold is None:
        return tiles
    return [
        ("called lesion", f"{components.total_ml:.1f}", "ml"),
        ("component" if components.count == 1 else "components", str(components.count), ""),
        ("largest component", f"{components.largest_ml:.1f}", "ml"),
        *tiles,
        ("threshold", f"{threshold.value:.3g}", ""),
    ]


def _overview(picture: Path, prediction: Prediction) -> dict[str, str]:
    rows = ["input", *(["tissue"] if prediction.tissue is not None else []), "reconstruction"]
    words = f"Rows: {', '.join(rows)}, anomaly score over the input"
    caption = f"{words}, on axial slices from foot to head. Anterior is up, the patient's left is on the right."
    return {"title": "", "light": embed_picture(picture), "dark": "", "alt": caption, "caption": caption}


def _gradient(scale: Mapping[str, float]) -> str:
    """Stops of the colour bar, from score 0 to the end of the threshold's control."""
    reach = scale["last"] * scale["step"]
    shares = np.linspace(0, 1, 17)
    colours = mpl.colormaps[ANOMALY_MAP](np.clip(shares * reach / scale["top"], 0, 1))
    return ", ".join(f"{to_hex(colour)} {100 * share:g}%" for colour, share in zip(colours, shares, strict=True))
