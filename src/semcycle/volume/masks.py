"""Masks: connected components, boxes around them, what is too small to count, and what is no mask at all."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import ScoringError
from semcycle.types import Box, Spacing

NEIGHBOURS = np.ones((3, 3, 3), bool)
"""26-connectivity."""


def values_inside(data: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """The values of a mask's voxels, in the order in which they lie in memory.

    Arrays of NIfTI files have the first axis the fastest; ``data[mask]`` walks across them and takes 8 times as long.
    """
    if data.flags.f_contiguous and mask.flags.f_contiguous:
        return np.asarray(data.T[mask.T])
    return np.asarray(data[mask])


def blank_like(mask: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Zeros in the order of a mask in memory; where nothing is written a large array takes none, unlike numpy's own."""
    return np.zeros(mask.shape, dtype, order="F" if mask.flags.f_contiguous else "C")


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
    labels = blank_like(mask, np.dtype(np.int32))
    box = bounding_box(mask)
    if box is None:
        return labels, np.zeros(0, np.int64)
    numbers, count = ndimage.label(np.ascontiguousarray(mask[box]), NEIGHBOURS)  # they depend on the order in memory
    labels[box] = numbers
    return labels, np.bincount(values_inside(labels[box], mask[box]), minlength=int(count) + 1)[1:]


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


FEWEST_LEVELS = 6
"""Values of a mask that an interpolation has between 0 and its 1; a label file with fewer is taken for one."""


def fades_out(labels: NDArray[Any]) -> bool:
    """Whether an array of whole numbers is a soft mask, in per cent or with 255 for 1, and none of labels.

    Along each axis the voxels between 0 and a voxel inside are looked at. In a soft mask most of them are smaller than
    their neighbour inside; in labels of regions or of single lesions they are mostly the same, or larger as often.

    Args:
        labels: ``(I, J, K)``, from 0.
    """
    if labels.max(initial=0) < FEWEST_LEVELS:
        return False
    box = bounding_box(labels > 0)
    values = np.pad(np.rint(labels[box]), 1) if box else labels
    rising = edge = 0
    for axis in range(3):
        lines = np.moveaxis(values, axis, 0)
        for line in (lines, lines[::-1]):
            rim = (line[:-2] == 0) & (line[1:-1] > 0) & (line[2:] > 0)
            edge += int(rim.sum())
            rising += int((line[2:][rim] > line[1:-1][rim]).sum())
    return rising > edge / 2 and np.unique(values).size > FEWEST_LEVELS
