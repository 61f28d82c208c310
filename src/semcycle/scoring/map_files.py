"""Reads the files of one case for scoring: anomaly maps of any tool, lesion labels, brain mask, on one grid.

Rules, each an error of its case that names the file:

- All files share shape and affine with the truth (0.1 voxel at the corners).
- Truth holds labels: whole numbers from 0, any but 0 is lesion. Fractions are refused, as 0.5 and 0 are both used to
cut them.
  No lesion at all is a healthy case; nothing but lesion in the brain is refused.
- Brain: any value but 0 is inside. Without a mask (`--brain none`) the whole grid counts.
- Scores are taken as float32, of any range and sign, constant or not. NaN and infinities outside the brain are ignored,
inside
  they are refused. Lesion voxels outside the brain have no score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError, VolumeError
from semcycle.masks import bounding_box
from semcycle.scoring.pairing import MapCase
from semcycle.types import SliceArray, SliceMask, Spacing
from semcycle.volume import Volume, load_like, load_map, load_mask, ras_spacing, to_ras

NEAR = 1e-3
"""How far a label may be from a whole number: scale factors in headers round."""


@dataclass(frozen=True)
class MapVoxels:
    """A case as axial slices, from foot to head, cut to the box around brain and lesion.

    Attributes:
        truth: ``(S, H, W)``.
        brain: ``(S, H, W)``.
        scores: Method -> ``(S, H, W)`` float32, 0 outside the brain.
        spacing: Voxel size in mm along these axes.
        voxel_ml: Volume of a voxel.
        first_slice: Index of the first one in the scan.
        image: ``(S, H, W)`` scan, for pictures.
    """

    truth: SliceMask
    brain: SliceMask
    scores: dict[str, SliceArray]
    spacing: Spacing
    voxel_ml: float
    first_slice: int = 0
    image: SliceArray | None = None


def read_case(case: MapCase) -> MapVoxels:
    """Read and check everything of a case.

    Raises:
        VolumeError: A file is missing or unreadable, or holds what the module's rules refuse.
        GeometryError: Grids differ.
        ScoringError: The brain is empty or nothing but lesion.
    """
    like = load_map(case.truth)
    truth = _labels(like) != 0
    brain = np.ones(like.shape, bool) if case.brain is None else load_mask(case.brain, like, "brain mask")
    if not brain.any():
        msg = f"{case.brain}: expected a brain mask with voxels inside, got an empty one; check the mask"
        raise ScoringError(msg)
    if truth[brain].all():
        where = case.brain or "the whole grid"
        msg = (
            f"{case.truth}: expected healthy voxels beside the lesion, got lesion in all of {where}; is it a brain "
            "mask?"
        )
        raise ScoringError(msg)
    box = bounding_box(_slices(brain | truth, like))

    def cut(data: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(_slices(data, like)[box])

    brain, truth = cut(brain), cut(truth)
    scores = {}
    for method, path in case.predictions.items():
        scores[method] = _scores(cut(load_like(path, like, "anomaly map", finite=False)), brain, path, case.brain)
    k, j, i = ras_spacing(like.affine)[::-1]
    return MapVoxels(
        truth=truth,
        brain=brain,
        scores=scores,
        spacing=(k, j, i),
        voxel_ml=like.voxel_ml,
        first_slice=box[0].start if box else 0,
        image=None if case.image is None else np.nan_to_num(cut(load_like(case.image, like, "image", finite=False))),
    )


def _slices(data: NDArray[Any], like: Volume) -> NDArray[Any]:
    """``(S, H, W)`` view of ``(I, J, K)``."""
    return to_ras(data, like.affine).transpose(2, 1, 0)


def _labels(truth: Volume) -> NDArray[np.float32]:
    rounded = np.rint(truth.data)
    if not np.isfinite(truth.data).all() or truth.data.min() < -NEAR or np.abs(truth.data - rounded).max() > NEAR:
        low, high = np.nanmin(truth.data), np.nanmax(truth.data)
        msg = (
            f"{truth.source}: expected lesion labels (whole numbers from 0), got values from {low:g} to {high:g}; cut "
            "them to 0 and 1 first"
        )
        raise VolumeError(msg)
    return rounded


def _scores(data: SliceArray, brain: SliceMask, path: Path, mask: Path | None) -> SliceArray:
    bad = int((~np.isfinite(data[brain])).sum())
    if bad:
        where = "the brain" if mask else "the grid"
        remedy = "set them to a number" if mask else "set them to a number, or give brain masks"
        msg = f"{path}: expected finite scores in {where}, got {bad} that are NaN, infinite or beyond float32; {remedy}"
        raise VolumeError(msg)
    return np.where(brain, data, np.float32(0))
