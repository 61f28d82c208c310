"""Healthy prior: how large the residual is where nothing is wrong, so that scores mean the same everywhere in the head.

A reconstruction errs more in the cerebellum than in the centrum semiovale, more in CSF than in white matter, and more
at the brain's edge than within. Let a be the residual after the preset's filters, and m and s its mean and standard
deviation on healthy voxels of the same tissue of S, height in the head and distance to the edge. Then

    z = a / (m + 2 s + eps),    score = z / (1 + z),

with eps = 0.03: a residual as large as healthy ones hardly ever are becomes 1/2. Where the method has a probability q
of its own (a refiner's), the residual is evidence beside it and moves its log-odds,

    log(score / (1 - score)) = log(q / (1 - q)) + 2 (min(z, 3) - 1).

Bright residuals, x above G(S(x)), and dark ones have a prior each; with
``sign=absolute`` the larger z counts.

m and s are kept for 20 heights between the lowest and the highest slice of the brain, smoothed along the height, and
five distances. Between tissues they are weighted by S's probabilities; methods without tissue maps have one class.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from scipy import ndimage

from semcycle.errors import CheckpointError, PredictionError
from semcycle.files import write_bytes
from semcycle.prediction.filters import edge_distance
from semcycle.training.calibration import PRIOR
from semcycle.types import SliceArray, SliceMask, Spacing, TissueSlices

SIGNS = ("positive", "negative")
"""Bright and dark residuals."""
HEIGHTS = 20
EDGES_MM = (2.0, 4.0, 7.0, 12.0)
"""Distances to the brain's edge, city block in the slice, between which m and s differ."""
EPS = 0.03
"""Of the intensity scale: keeps z small where healthy residuals are nearly 0."""
SPREAD = 2.0
"""Standard deviations above the mean at which z is 1."""
EVIDENCE, MOST = 2.0, 3.0
"""Log-odds that a step of z is worth beside a method's own probability, and the z beyond which no more is added."""
LITTLE_ML = 10.0
"""Weight of the brain's overall moments in every cell, so that a cell nobody saw has those."""


@dataclass(frozen=True)
class Cells:
    """Which cell of the prior each voxel of a brain belongs to.

    Attributes:
        place: ``(N,)`` index over distances and heights.
        tissue: ``(T, N)`` weights of the classes: GM, WM, CSF, else; or one class alone.
    """

    place: NDArray[np.intp]
    tissue: NDArray[np.float32]


@dataclass(frozen=True)
class Moments:
    """Sums over healthy voxels that add over scans, and can be taken off again to leave one out.

    Attributes:
        sums: ``(2, 3, T, D, H)``: for both signs the volume in ml and the sums of a and of its square, by class,
            distance and height.
    """

    sums: NDArray[np.float64]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.sums + other.sums)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.sums - other.sums)


@dataclass(frozen=True)
class HealthyPrior:
    """m and s on healthy voxels.

    Attributes:
        mean: ``(2, T, D, H)``: of bright and of dark residuals, by class, distance and height.
        deviation: Same shape.
        steps: Filters of the residual it was learned with, in words; another residual needs another prior.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    steps: str

    def save(self, folder: Path) -> Path:
        """Write ``prior.safetensors`` beside a model."""
        content = save(
            {"mean": self.mean, "deviation": self.deviation}, {"prior": json.dumps({"format": 1, "steps": self.steps})}
        )
        write_bytes(folder / PRIOR, content)
        return folder / PRIOR

    @classmethod
    def load(cls, folder: Path) -> HealthyPrior | None:
        """Read what :meth:`save` wrote; ``None`` for a model without.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = folder / PRIOR
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as stream:
                steps = json.loads(stream.metadata()["prior"])["steps"]
                return cls(stream.get_tensor("mean"), stream.get_tensor("deviation"), steps)
        except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
            msg = f"{path}: expected a healthy prior, got a damaged file ({error}); run `semcycle calibrate` again"
            raise CheckpointError(msg) from error

    def standardise(
        self, residual: SliceArray, sign: str, brain: SliceMask, tissue: TissueSlices | None, pixel: tuple[float, float]
    ) -> SliceArray:
        """Residuals in units of the healthy ones: z = a / (m + 2 s + eps).

        Args:
            residual: ``(S, H, W)`` a, not negative.
            sign: ``positive`` or ``negative``: whose prior.
            brain: ``(S, H, W)``.
            tissue: ``(S, 3, H, W)`` S(x), or ``None``.
            pixel: Sides ``(H, W)`` of a pixel in mm.

        Returns:
            ``(S, H, W)``, 0 outside the brain.

        Raises:
            PredictionError: The prior is of a method with tissue maps and this one has none, or the other way round.
        """
        cells = find_cells(brain, tissue, pixel)
        classes = len(cells.tissue)
        if classes != self.mean.shape[1]:
            msg = (
                f"expected a healthy prior of {classes} tissue classes, got one of {self.mean.shape[1]}; "
                "run `semcycle calibrate` for this model"
            )
            raise PredictionError(msg)
        level = (self.mean + SPREAD * self.deviation)[SIGNS.index(sign)].reshape(classes, -1)
        expected = np.zeros(len(cells.place), np.float32)
        for row, weight in zip(level, cells.tissue, strict=True):
            expected += row[cells.place] * weight
        z = np.zeros(residual.shape, np.float32)
        z[brain] = residual[brain] / (expected + EPS)
        return z


def add_evidence(probability: SliceArray, z: SliceArray) -> SliceArray:
    """Move the log-odds of a probability by the residual's evidence.

    Args:
        probability: ``(S, H, W)`` in [0, 1], cut to [0.001, 0.999].
        z: ``(S, H, W)`` residuals in units of the healthy ones, not negative.

    Returns:
        ``(S, H, W)`` in (0, 1).
    """
    q = np.clip(probability, 1e-3, 1 - 1e-3)
    odds = np.log(q / (1 - q)) + EVIDENCE * (np.minimum(z, MOST) - 1)
    return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def find_cells(brain: SliceMask, tissue: TissueSlices | None, pixel: tuple[float, float]) -> Cells:
    """The cells of a brain's voxels, in the order of ``array[brain]``."""
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    low, high = (int(shown[0]), int(shown[-1]) + 1) if len(shown) else (0, 1)
    height = (np.arange(len(brain)) + 0.5 - low) / (high - low)
    level = np.clip(height * HEIGHTS, 0, HEIGHTS - 1).astype(np.intp)[:, None, None]
    band = np.searchsorted(EDGES_MM, edge_distance(brain, pixel), side="right")
    place = (band * HEIGHTS + level)[brain]
    if tissue is None:
        return Cells(place, np.ones((1, len(place)), np.float32))
    maps = tissue.transpose(1, 0, 2, 3)[:, brain]
    return Cells(place, np.concatenate([maps, np.clip(1 - maps.sum(axis=0, keepdims=True), 0, 1)]))


def measure_moments(
    residuals: dict[str, SliceArray],
    healthy: SliceMask,
    brain: SliceMask,
    tissue: TissueSlices | None,
    spacing: Spacing,
) -> Moments:
    """Sum up one scan's residuals over its healthy voxels.

    Args:
        residuals: Sign -> ``(S, H, W)`` residual after the preset's filters.
        healthy: ``(S, H, W)``, within the brain.
        brain: ``(S, H, W)``.
        tissue: ``(S, 3, H, W)`` S(x), or ``None``.
        spacing: Voxel size ``(S, H, W)`` in mm.
    """
    cells, inside = find_cells(brain, tissue, spacing[1:]), healthy[brain]
    places = (len(EDGES_MM) + 1) * HEIGHTS
    place, voxel_ml = cells.place[inside], float(np.prod(spacing)) / 1000
    sums = np.zeros((2, 3, len(cells.tissue), places))
    for index, sign in enumerate(SIGNS):
        a = residuals[sign][brain][inside].astype(np.float64)
        for row, weight in enumerate(cells.tissue):
            volume = weight[inside] * voxel_ml
            for power, values in enumerate((volume, volume * a, volume * a * a)):
                sums[index, power, row] = np.bincount(place, values, places)
    return Moments(sums.reshape(2, 3, len(cells.tissue), len(EDGES_MM) + 1, HEIGHTS))


def fit_prior(moments: Moments, steps: str) -> HealthyPrior:
    """Turn sums over scans into m and s.

    Args:
        moments: Of all scans together.
        steps: Filters of the residual, in words.

    Raises:
        PredictionError: There is no healthy voxel.
    """
    overall = moments.sums.sum(axis=(2, 3, 4))  # (2, 3)
    if not overall[0, 0] > 0:
        msg = "expected healthy voxels to learn a prior from, got none; name other scans"
        raise PredictionError(msg)
    smooth = ndimage.gaussian_filter1d(moments.sums, 1.0, axis=-1, mode="nearest")
    smooth = smooth + LITTLE_ML * (overall / overall[:, :1])[:, :, None, None, None]
    mean = smooth[:, 1] / smooth[:, 0]
    variance = np.maximum(smooth[:, 2] / smooth[:, 0] - mean**2, 0)
    return HealthyPrior(mean.astype(np.float32), np.sqrt(variance).astype(np.float32), steps)
