"""Reads the files of one case for scoring: anomaly maps of any tool, lesion labels, brain mask, on one grid.

Rules, each an error of its case that names the file:

- All files share shape and affine with the truth (0.1 voxel at the corners).
- Truth holds labels: whole numbers from 0, any but 0 is lesion. Fractions are refused, as 0.5 and 0 are both used to
  cut them. No lesion at all is a healthy case; nothing but lesion in the brain is refused.
- Brain: any value but 0 is inside. Without a mask (`--brain none`) the whole grid counts.
- Scores are taken as float32, of any range and sign, constant or not. NaN and infinities outside the brain are ignored,
  inside they are refused. Lesion voxels outside the brain have no score.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError, VolumeError
from semcycle.scoring.cases import ScoredCase
from semcycle.scoring.pairing import MapCase
from semcycle.types import SliceArray, SliceMask, VoxelMask
from semcycle.volume import Volume, load_like, load_map, load_mask, ras_spacing, to_ras
from semcycle.volume.masks import bounding_box, fades_out, values_inside

AS_IS = "as_is"
"""Preset of maps that are scored as they are."""
NEAR = 1e-3
"""How far a label may be from a whole number: scale factors in headers round."""


def read_case(case: MapCase) -> ScoredCase:
    """Read and check everything of a case: axial slices from foot to head, cut to the box around brain and lesion.

    Returns:
        Its maps are those of the preset ``AS_IS``, 0 outside the brain.

    Raises:
        VolumeError: A file is missing or unreadable, or holds what the module's rules refuse.
        GeometryError: Grids differ.
        ScoringError: The brain is empty or nothing but lesion.
    """
    like = load_map(case.truth)
    truth = _lesion(like)
    like = replace(like, data=np.broadcast_to(np.float32(0), like.shape))  # from here on only its grid counts
    brain = np.ones(like.shape, bool) if case.brain is None else load_mask(case.brain, like, "brain mask")
    if not brain.any():
        msg = f"{case.brain}: expected a brain mask with voxels inside, got an empty one; check the mask"
        raise ScoringError(msg)
    if not (brain & ~truth).any():
        where = case.brain or "the whole grid"
        msg = (
            f"{case.truth}: expected healthy voxels beside the lesion, got lesion in all of {where}; "
            "is it a brain mask?"
        )
        raise ScoringError(msg)
    box = bounding_box(_slices(brain | truth, like))

    def cut(data: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(_slices(data, like)[box])

    brain, truth = cut(brain), cut(truth)
    maps = {
        (method, AS_IS): _scores(cut(load_like(path, like, "anomaly map", finite=False)), brain, path, case.brain)
        for method, path in case.predictions.items()
    }
    k, j, i = ras_spacing(like.affine)[::-1]
    first = box[0].start if box else 0
    return ScoredCase(
        case=case.case,
        subject=case.subject,
        brain=brain,
        truth=truth,
        spacing=(k, j, i),
        lesion_ml=float(truth.sum()) * like.voxel_ml,
        maps=maps,
        use=case.use,
        source="" if case.use == "test" else f"the list's {case.use} rows",
        image=None if case.image is None else _image(cut(load_like(case.image, like, "image", finite=False)), brain),
        slice_index=range(first, first + len(truth)),
    )


def _image(data: SliceArray, brain: SliceMask) -> SliceArray:
    """In [0, 1], for pictures."""
    data = np.nan_to_num(data)
    white = max(float(np.percentile(data[brain], 99.8)), 1e-9)
    return np.clip(data / np.float32(white), 0, 1)


def _slices(data: NDArray[Any], like: Volume) -> NDArray[Any]:
    """``(S, H, W)`` view of ``(I, J, K)``."""
    return to_ras(data, like.affine).transpose(2, 1, 0)


def _lesion(truth: Volume) -> VoxelMask:
    marked = truth.data != 0
    values = values_inside(truth.data, marked)  # a few in a hundred voxels, NaN among them
    whole = np.rint(values)
    labelled = np.isfinite(values).all() and values.min(initial=0) >= -NEAR
    labelled = labelled and np.abs(values - whole).max(initial=0) <= NEAR
    if not labelled or fades_out(truth.data):
        low, high = np.nanmin(truth.data), np.nanmax(truth.data)
        how = " that fade towards 0, as percentages do" if labelled else ""
        msg = (
            f"{truth.source}: expected lesion labels (whole numbers from 0), got values from {low:g} to {high:g}{how}; "
            "cut them to 0 and 1 first"
        )
        raise VolumeError(msg)
    return marked if whole.all() else np.rint(truth.data) != 0


def _scores(data: SliceArray, brain: SliceMask, path: Path, mask: Path | None) -> SliceArray:
    bad = int((~np.isfinite(data[brain])).sum())
    if bad:
        where = "the brain" if mask else "the grid"
        remedy = "set them to a number" if mask else "set them to a number, or give brain masks"
        msg = f"{path}: expected finite scores in {where}, got {bad} that are NaN, infinite or beyond float32; {remedy}"
        raise VolumeError(msg)
    return np.where(brain, data, np.float32(0))
