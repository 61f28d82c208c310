"""Scan page: what was found in one scan, as one HTML file with an interactive viewer that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import GeometryError, PredictionError
from semcycle.report.canvas import ANOMALY_MAP
from semcycle.report.histogram import draw_histogram
from semcycle.report.html import RESEARCH_ONLY, RESIDUAL_LIMITS, embed_picture, list_facts, write_html
from semcycle.report.viewer import embed_viewer
from semcycle.types import Affine, VoxelArray, VoxelMask

LIMITS = (
    *RESIDUAL_LIMITS,
    "A threshold holds for scans like those it was set on; another scanner or sequence may shift the scores.",
    RESEARCH_ONLY,
)


@dataclass(frozen=True)
class ScanReport:
    """What a scan's page shows. All arrays lie on the scan's own grid, in any orientation.

    Attributes:
        name: The scan's name: the heading of the page.
        image: ``(I, J, K)`` intensities, finite, any unit.
        affine: ``(4, 4)`` voxel index -> mm, RAS+.
        brain: ``(I, J, K)``.
        scores: ``(I, J, K)`` anomaly scores in [0, 1], 0 outside the brain.
        reconstruction: ``(I, J, K)`` healthy reconstruction in the image's unit, or ``None``.
        tissue: ``(I, J, K, 3)`` GM, WM, CSF in [0, 1], or ``None``.
        lesion: ``(I, J, K)`` lesion mask, or ``None``.
        threshold: The score the mask was cut at, and where the viewer's slider starts; ``None`` starts it at 0.
        threshold_source: Where the threshold comes from, in words.
        flags: What is doubtful about the scan, one remark each.
        facts: How the page came about (model, preset, versions ...): name -> text, number, list or mapping.
        overview: The mosaic, see :func:`semcycle.report.overview.overview_figure`; a figure or a PNG file.
    """

    name: str
    image: VoxelArray
    affine: Affine
    brain: VoxelMask
    scores: VoxelArray
    reconstruction: VoxelArray | None = None
    tissue: NDArray[np.floating] | None = None
    lesion: VoxelMask | None = None
    threshold: float | None = None
    threshold_source: str = ""
    flags: Sequence[str] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    overview: Figure | Path | None = None


def write_scan_page(path: Path, report: ScanReport, *, index: str = "") -> Path:
    """Write one self-contained HTML file, atomically; the same report gives the same bytes.

    Args:
        path: ``<name>_report.html``.
        report: What to show.
        index: Address of the folder's page beside it (``index.html``), linked from the page; none without.

    Returns:
        The file.

    Raises:
        GeometryError: The arrays do not share one grid, or the brain mask is empty.
        PredictionError: The threshold is not finite.
        ScoringError: The overview is no PNG.
    """
    _check(report)
    scores = np.asarray(report.scores[report.brain], np.float64)
    viewer = embed_viewer(
        report.image,
        report.affine,
        report.brain,
        report.scores,
        reconstruction=report.reconstruction,
        tissue=report.tissue,
        lesion=report.lesion,
        threshold=report.threshold,
    )
    scale = viewer["settings"]["scores"]
    content = {
        "name": report.name,
        "index": quote(index),
        "intro": _introduce(report),
        "tiles": _tiles(report, scores),
        "flags": list(report.flags),
        "overview": _overview(report),
        "histogram": draw_histogram(scores, report.threshold),
        "threshold_source": report.threshold_source,
        "facts": list_facts(report.facts),
        "limits": LIMITS,
        "bases": _bases(report),
        "has_lesion": report.lesion is not None,
        "values": _values(report),
        "gradient": _gradient(scale),
        **viewer,
    }
    return write_html(path, "scan.html.jinja", content)


def _check(report: ScanReport) -> None:
    shape = report.image.shape
    grids = {name: getattr(report, name) for name in ("brain", "scores", "reconstruction", "lesion")}
    grids |= {"tissue": None if report.tissue is None else report.tissue[..., 0]}
    for name, data in grids.items():
        if data is not None and data.shape != shape:
            msg = f"{report.name}: expected {name} on the image's grid {shape}, got {data.shape}; bring it to that grid"
            raise GeometryError(msg)
    if not report.brain.any():
        msg = f"{report.name}: expected a brain mask with voxels inside, got an empty one; check the mask"
        raise GeometryError(msg)
    if report.threshold is not None and not np.isfinite(report.threshold):
        msg = f"{report.name}: expected a finite threshold, got {report.threshold}; set another, or none"
        raise PredictionError(msg)


def _introduce(report: ScanReport) -> str:
    i, j, k = report.image.shape
    spacing = " x ".join(f"{step:.3g}" for step in np.linalg.norm(report.affine[:3, :3], axis=0))
    size = f"{i} x {j} x {k} voxels of {spacing} mm."
    if report.threshold is None:
        return f"Anomaly scores without a threshold. {size}"
    source = f" ({report.threshold_source})" if report.threshold_source else ""
    return f"Anomaly scores of at least {report.threshold:.3g}{source} are called lesion. {size}"


def _tiles(report: ScanReport, scores: NDArray[np.float64]) -> list[tuple[str, str, str]]:
    """Label, figure and unit of what stands at the top."""
    voxel_ml = float(abs(np.linalg.det(report.affine[:3, :3]))) / 1000
    tiles = []
    if report.lesion is not None:
        labels, count = ndimage.label(report.lesion, np.ones((3, 3, 3)))
        largest = np.bincount(labels.ravel())[1:].max(initial=0) * voxel_ml
        tiles += [
            ("called lesion", f"{report.lesion.sum() * voxel_ml:.1f}", "ml"),
            ("component" if count == 1 else "components", str(count), ""),
            ("largest component", f"{largest:.1f}", "ml"),
        ]
    tiles += [("mean score", f"{scores.mean():.3g}", ""), ("brain", f"{scores.size * voxel_ml:.0f}", "ml")]
    return tiles if report.threshold is None else [*tiles, ("threshold", f"{report.threshold:.3g}", "")]


def _overview(report: ScanReport) -> dict[str, str] | None:
    if report.overview is None:
        return None
    rows = ["input", *(["tissue"] if report.tissue is not None else [])]
    rows += ["reconstruction"] if report.reconstruction is not None else []
    words = f"Rows: {', '.join(rows)}, anomaly score over the input"
    caption = f"{words}, on axial slices from foot to head. Anterior is up, the patient's left is on the right."
    return {"title": "", "light": embed_picture(report.overview), "dark": "", "alt": caption, "caption": caption}


def _bases(report: ScanReport) -> list[tuple[str, str]]:
    """The pictures that the overlay can lie on: name of the volume and its label."""
    bases = [("image", "input")]
    bases += [("reconstruction", "reconstruction")] if report.reconstruction is not None else []
    return bases + ([("tissue", "tissue")] if report.tissue is not None else [])


def _values(report: ScanReport) -> list[str]:
    """Headings of the viewer's read-out, as ``Viewer.describe`` names them."""
    parts = {"reconstruction": report.reconstruction, "GM, WM, CSF %": report.tissue, "lesion mask": report.lesion}
    return ["voxel", "mm", "input", "score", *(name for name, part in parts.items() if part is not None)]


def _gradient(scale: Mapping[str, float]) -> str:
    """Stops of the colour bar, from score 0 to the end of the threshold's control."""
    reach = scale["last"] * scale["step"]
    shares = np.linspace(0, 1, 17)
    colours = mpl.colormaps[ANOMALY_MAP](np.clip(shares * reach / scale["top"], 0, 1))
    return ", ".join(f"{to_hex(colour)} {100 * share:g}%" for colour, share in zip(colours, shares, strict=True))
