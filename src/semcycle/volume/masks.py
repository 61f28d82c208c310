"""Masks: connected components, boxes around them, and what is too small to count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import ScoringError
from semcycle.types import Box, Spacing

NEIGHBOURS = np.ones((3, 3, 3), bool)
"""26-connectivity."""


def drop_small(mask: NDArray[np.bool_], spacing: Spacing, min_mm3: float) -> NDArray[np.bool_]:
    """A mask without its components below a volume in mm3."""
    voxel = float(np.prod(spacing))
    if min_mm3 <= voxel:
        return mask
    labels, sizes = label_components(mask, spacing)
    return np.concatenate([[False], sizes * voxel >= min_mm3])[labels]


def label_components(mask: NDArray[np.bool_], spacing: Spacing) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Labels ``(I, J, K)`` from 1, 0 outside, and the voxels of each component.

    Raises:
        ScoringError: Not 3-D, or a voxel has no size.
    """
    if mask.ndim != 3:
        msg = f"expected a 3-D mask, got shape {mask.shape}"
        raise ScoringError(msg)
    check_spacing(spacing)
    labels = np.zeros(mask.shape, np.int32)
    box = bounding_box(mask)
    if box is None:
        return labels, np.zeros(0, np.int64)
    count = ndimage.label(mask[box], NEIGHBOURS, output=labels[box])
    return labels, np.bincount(labels[box][mask[box]], minlength=int(count) + 1)[1:]


def check_spacing(spacing: Spacing) -> None:
    """Refuse voxels without size.

    Raises:
        ScoringError: Not three positive finite numbers.
    """
    if len(spacing) != 3 or not all(np.isfinite(side) and side > 0 for side in spacing):
        msg = f"expected three voxel sizes in mm above 0, got {spacing}; repair the affine"
        raise ScoringError(msg)


def bounding_box(mask: NDArray[np.bool_]) -> Box | None:
    """The smallest box around a 3-D mask, ``None`` around nothing."""
    sides = []
    for axes in ((1, 2), (0, 2), (0, 1)):
        inside = np.flatnonzero(mask.any(axis=axes))
        if not len(inside):
            return None
        sides.append(slice(int(inside[0]), int(inside[-1]) + 1))
    i, j, k = sides
    return i, j, k
