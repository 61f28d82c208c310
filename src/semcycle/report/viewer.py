"""Viewer: a scan's volumes packed for the page's own three-plane viewer, which needs no network.

Volumes are turned to RAS+ along their nearest axes, cropped to the brain, kept as one byte a voxel, and
embedded as base64 of gzip, which browsers unpack themselves. ``viewer.js`` draws them.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.prediction.prediction import Prediction
from semcycle.report import canvas
from semcycle.types import Affine, VoxelArray, VoxelMask
from semcycle.volume import ras_spacing, ras_to_voxel, to_ras
from semcycle.volume.masks import bounding_box

_MARGIN_MM = 8.0
"""What is kept round the brain."""

_MAX_VOXELS = 8_000_000
"""A larger volume is shown at every second voxel of its finest axes; a head at 1 mm has a third of this."""

TISSUE_LEVELS = 31
"""Steps of a tissue probability; more cannot be seen, and fewer pack smaller."""


@dataclass(frozen=True)
class ViewGrid:
    """The part of a scan that is shown, as an RAS+ grid of its own.

    Attributes:
        affine: ``(4, 4)`` of the scan.
        window: Index ranges in the array of :func:`semcycle.volume.to_ras`; a step of 2 leaves out every second voxel.
        spacing: mm along right, anterior, superior.
        to_voxel: ``(4, 4)`` index on this grid -> voxel index of the scan.
    """

    affine: Affine
    window: tuple[slice, slice, slice]
    spacing: tuple[float, float, float]
    to_voxel: Affine

    @property
    def step(self) -> int:
        """1, or how many voxels of the finest axis one shown voxel stands for."""
        return max(int(part.step) for part in self.window)

    def cut(self, data: NDArray[Any]) -> NDArray[Any]:
        """``(I, J, K)`` of the scan -> ``(X, Y, Z)`` of this grid (a view)."""
        return np.asarray(to_ras(data, self.affine)[self.window])


def fit_view(brain: VoxelMask, affine: Affine) -> ViewGrid:
    """Choose the part of a scan that is shown: its brain and a margin, thinned out beyond ``_MAX_VOXELS``.

    Args:
        brain: ``(I, J, K)``.
        affine: ``(4, 4)``.
    """
    inside, spacing = to_ras(brain, affine), np.array(ras_spacing(affine))
    whole = tuple(slice(0, size) for size in inside.shape)
    ranges = []
    for side, size, step in zip(bounding_box(inside) or whole, inside.shape, spacing, strict=True):
        margin = round(_MARGIN_MM / step)
        ranges.append((max(side.start - margin, 0), min(side.stop + margin, size)))
    steps = np.ones(3, int)
    counts = np.array([stop - start for start, stop in ranges])
    while np.prod(-(-counts // steps)) > _MAX_VOXELS:
        steps[np.argmin(spacing * steps)] *= 2
    window = tuple(slice(start, stop, int(step)) for (start, stop), step in zip(ranges, steps, strict=True))
    to_index = np.diag([*steps.astype(float), 1.0])
    to_index[:3, 3] = [start for start, _ in ranges]
    i, j, k = brain.shape
    x, y, z = (float(size) for size in spacing * steps)
    return ViewGrid(affine, (window[0], window[1], window[2]), (x, y, z), ras_to_voxel(affine, (i, j, k)) @ to_index)


def embed_viewer(prediction: Prediction) -> dict[str, Any]:
    """What the template's viewer needs of a prediction.

    Returns:
        ``settings``, a JSON-able mapping that ``viewer.js`` reads (grids, scales, colours, where to start);
        ``volumes``, name -> base64 of gzip of one byte a voxel, x running fastest; ``bases``, name and label of the
        volumes that the overlay can lie on; ``values``, headings of the read-out, as ``Viewer.describe`` names them;
        ``has_lesion``;
        ``step`` and ``tilt``, see :class:`ViewGrid`.
    """
    affine, brain = prediction.volume.affine, prediction.prepared.brain_native
    components = prediction.components()
    threshold = prediction.threshold.value if prediction.threshold else None
    grid = fit_view(brain, affine)
    inside, image = grid.cut(brain), grid.cut(prediction.volume.data)
    scores = np.array(grid.cut(prediction.anomaly_native()))  # a copy: the whole of a large scan is not kept
    low, step = _grey_scale(image)
    white = float(np.percentile(image[inside], 99.8))
    score_step, last, top = _score_scale(scores[inside], threshold)
    volumes = {
        "image": _to_bytes(image, low, step),
        "scores": floor_scores(scores, score_step),
        "reconstruction": _to_bytes(np.where(inside, grid.cut(prediction.reconstruction_native()), low), low, step),
    }
    if prediction.tissue is not None:
        for index, name in enumerate(canvas.TISSUE_COLOURS):
            volumes[name.lower()] = _to_bytes(grid.cut(prediction.tissue_map(index)), 0, 1 / TISSUE_LEVELS)
    if components is not None:
        volumes["lesion"] = grid.cut(components.labels > 0).astype(np.uint8)
    settings = {
        "shape": list(inside.shape),
        "spacing": [round(size, 6) for size in grid.spacing],
        "toVoxel": np.round(grid.to_voxel[:3], 6).tolist(),
        "toMm": np.round((affine @ grid.to_voxel)[:3], 6).tolist(),
        "findings": _find_voxels(grid, [finding.voxel for finding in prediction.findings], inside.shape),
        "start": find_start(scores, grid.cut(components.largest()) if components else None),
        "image": {"low": low, "step": step, "black": max(low, min(0.0, white)), "white": white},
        "scores": {"step": score_step, "last": last, "top": top, "threshold": threshold},
        "voxelMl": float(np.prod(grid.spacing)) / 1000,
        "brainVoxels": int(inside.sum()),
        "tissueLevels": TISSUE_LEVELS,
        "tissueColours": [_rgb(colour) for colour in canvas.TISSUE_COLOURS.values()],
        "outline": canvas.OUTLINE,
        "anomalyColours": [_rgb(colour) for colour in mpl.colormaps[canvas.ANOMALY_MAP](np.linspace(0, 1, 256))],
    }
    return {
        "settings": settings,
        "volumes": {name: pack(data) for name, data in volumes.items()},
        "bases": [
            ("image", "input"),
            ("reconstruction", "reconstruction"),
            *([("tissue", "tissue")] * (prediction.tissue is not None)),
        ],
        "values": [
            *("voxel", "mm", "input", "score", "reconstruction"),
            *(["GM, WM, CSF %"] if prediction.tissue is not None else []),
            *(["lesion mask"] if components is not None else []),
        ],
        "has_lesion": components is not None,
        "step": grid.step,
        "tilt": _tilt(affine),
    }


def pack(volume: NDArray[np.uint8]) -> str:
    """``(X, Y, Z)`` -> base64 of gzip of its bytes, x running fastest; the same volume gives the same text."""
    content = np.ascontiguousarray(volume.T).tobytes()
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def floor_scores(scores: NDArray[np.floating], step: float) -> NDArray[np.uint8]:
    """Scores as bytes, rounded down: ``score >= n * step`` holds exactly where ``byte >= n``, for n from 0 to 255."""
    levels = np.clip(np.floor(scores / step), 0, 255)
    levels = np.clip(levels + (scores >= (levels + 1) * step) - (scores < levels * step), 0, 255)
    return levels.astype(np.uint8)


def find_start(scores: VoxelArray, lesion: VoxelMask | None) -> list[int]:
    """Where the crosshair stands first: in the middle of a lesion, else at the peak of the smoothed scores."""
    if lesion is not None and lesion.any():
        places = np.argwhere(lesion)
        nearest = np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()
        return [int(index) for index in places[nearest]]
    smooth = ndimage.uniform_filter(scores.astype(np.float32), 3)
    if smooth.max() > 0:
        return [int(index) for index in np.unravel_index(int(smooth.argmax()), smooth.shape)]
    return [size // 2 for size in scores.shape]


def _find_voxels(grid: ViewGrid, voxels: list[tuple[int, int, int]], shape: tuple[int, ...]) -> list[list[int]]:
    """The shown voxels that are nearest to voxels of the scan."""
    index = np.array([[*voxel, 1] for voxel in voxels], float).reshape(-1, 4) @ np.linalg.inv(grid.to_voxel).T
    return np.clip(np.rint(index[:, :3]).astype(int), 0, np.array(shape) - 1).tolist()


def _grey_scale(image: NDArray[np.floating]) -> tuple[float, float]:
    """Value of byte 0 and size of a step; single voxels far beyond the others are cut off."""
    low, high, usual = float(image.min()), float(image.max()), float(np.percentile(image, 99.9))
    high = min(high, low + 1.5 * (usual - low)) if usual > low else high
    return low, max(high - low, 1e-6) / 255


def _score_scale(scores: NDArray[np.floating], threshold: float | None) -> tuple[float, int, float]:
    """Size of a step, the last level the threshold control reaches, and the score drawn in the brightest colour.

    The threshold is a whole number of steps, so that the viewer cuts just where the mask was cut; one below a 255th of
    the highest score cannot be.
    """
    highest = max(float(scores.max(initial=0)), 1e-3)
    top = max(float(np.percentile(scores, 99.8)), 1e-3)
    step = highest / 255
    below = min(int((threshold or 0) / step), 255)
    if threshold and below:
        step = threshold / below
    reach = max(top, 1.25 * (threshold or 0))
    return step, int(np.clip(np.ceil(reach / step), 1, 255)), top


def _to_bytes(data: NDArray[np.floating], low: float, step: float) -> NDArray[np.uint8]:
    return np.clip(np.rint((data - low) / step), 0, 255).astype(np.uint8)


def _tilt(affine: Affine) -> float:
    """Largest angle in degrees between an axis of the voxels and the scanner's nearest one."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(np.degrees(np.arccos(np.clip(np.abs(axes).max(axis=0), 0, 1))).max())


def _rgb(colour: Any) -> list[int]:
    return [round(255 * part) for part in to_rgb(colour)]
