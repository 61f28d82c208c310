"""Filters of anomaly maps within the brain: erosion, median, Gaussian, and removal of small components.

Arrays are ``(S, H, W)`` slices from foot to head, 0 outside the brain; lengths are in mm.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import SliceArray, SliceMask, Spacing
from semcycle.volume.masks import bounding_box, label_components

_CHUNK = 1 << 11
"""Windows that are sorted at a time: 1 MB of them at 5 x 5 x 5."""


def erode(brain: SliceMask, margin_mm: float, pixel: tuple[float, float]) -> SliceMask:
    """Take away what lies within a distance of a slice's edge of the brain; what is beyond the array is outside.

    Args:
        brain: ``(S, H, W)``.
        margin_mm: City-block distance in the slice, rounded to whole pixels: as many erosions with a cross of four
            neighbours.
        pixel: Sides ``(H, W)`` of a pixel in mm.
    """
    side = min(pixel)
    if margin_mm <= 0 or not round(margin_mm / side):
        return brain
    return edge_distance(brain, pixel) > (round(margin_mm / side) + 0.5) * side


def edge_distance(brain: SliceMask, pixel: tuple[float, float]) -> SliceArray:
    """Distance in mm of every voxel to the next pixel outside the brain: city block, in the slice, 0 outside.

    Args:
        brain: ``(S, H, W)``; what is beyond the array is outside.
        pixel: Sides ``(H, W)`` of a pixel in mm.
    """
    away = np.where(np.pad(brain, ((0, 0), (1, 1), (1, 1))), np.float32(np.inf), np.float32(0))
    for axis, step in ((1, pixel[0]), (2, pixel[1])):
        lines = np.moveaxis(away, axis, 0)
        for i in range(1, len(lines)):
            np.minimum(lines[i], lines[i - 1] + np.float32(step), out=lines[i])
        for i in range(len(lines) - 1, 0, -1):
            np.minimum(lines[i - 1], lines[i] + np.float32(step), out=lines[i - 1])
    return away[:, 1:-1, 1:-1]


def odd_sizes(side_mm: float, spacing: Spacing) -> tuple[int, int, int]:
    """Odd numbers of voxels whose extent is closest to a length, at least one along every axis."""
    s, h, w = (max(1, 2 * round((side_mm / step - 1) / 2) + 1) for step in spacing)
    return s, h, w


def median(scores: SliceArray, brain: SliceMask, sizes: tuple[int, int, int]) -> SliceArray:
    """Exact 3-D median at the brain's voxels, zeros around them.

    Windows without a majority of positive or of negative scores have the median 0 and are not sorted.

    Args:
        scores: ``(S, H, W)``, 0 outside the brain.
        brain: Same shape.
        sizes: Odd numbers of voxels along the axes.
    """
    box = bounding_box(brain)
    result = np.zeros_like(scores)
    if box is None or max(sizes) == 1:
        return scores
    padded = np.pad(scores[box], [(size // 2,) * 2 for size in sizes])
    middle = int(np.prod(sizes)) // 2
    decided = _window_sum(padded > 0, sizes) > middle
    if padded.min() < 0:
        decided |= _window_sum(padded < 0, sizes) > middle
    wanted = brain[box] & decided
    for i, inside in enumerate(wanted):
        windows = sliding_window_view(padded[i : i + sizes[0]], sizes)[0]
        rows, columns = np.nonzero(inside)
        filtered = result[box][i]
        for start in range(0, len(rows), _CHUNK):
            j, k = rows[start : start + _CHUNK], columns[start : start + _CHUNK]
            values = windows[j, k].reshape(len(j), -1)
            values.partition(middle, axis=1)
            filtered[j, k] = values[:, middle]
    return result


def smooth(scores: SliceArray, brain: SliceMask, sigma_mm: float, spacing: Spacing) -> SliceArray:
    """3-D Gaussian mean over the brain's voxels only, so that scores do not fade towards its edge.

    Args:
        scores: ``(S, H, W)``.
        brain: Same shape.
        sigma_mm: Standard deviation.
        spacing: Voxel size in mm.
    """
    box = bounding_box(brain)
    if box is None:
        return scores
    sigma = [sigma_mm / step for step in spacing]
    inside = brain[box].astype(np.float32)
    above, below = (
        ndimage.gaussian_filter(part, sigma, mode="constant", truncate=3) for part in (scores[box] * inside, inside)
    )
    result = np.zeros_like(scores)
    result[box] = np.where(brain[box], above / np.maximum(below, np.float32(1e-6)), np.float32(0))
    return result


def flatten_small(scores: SliceArray, level: float, min_mm3: float, spacing: Spacing) -> SliceArray:
    """Lower small components of the voxels above a level to that level: an area opening at one level.

    Masks at thresholds up to the level are left as they are.

    Args:
        scores: ``(S, H, W)``.
        level: Score.
        min_mm3: Components (26 neighbours) below this volume are lowered.
        spacing: Voxel size in mm.
    """
    labels, sizes = label_components(scores > level, spacing)
    small = np.concatenate([[False], sizes * float(np.prod(spacing)) < min_mm3])
    return np.where(small[labels], np.float32(level), scores)


def _window_sum(mask: SliceMask, sizes: tuple[int, int, int]) -> NDArray[np.int32]:
    """How many voxels of every whole window are set."""
    counts = mask.astype(np.int32)
    for axis, size in enumerate(sizes):
        length = mask.shape[axis] - size + 1
        parts = [np.moveaxis(counts, axis, 0)[i : i + length] for i in range(size)]
        counts = np.moveaxis(sum(parts[1:], parts[0]), 0, axis)
    return counts
