"""Padding: a constant outside the measured field, as resampling writes it (-1024, 4095), put to the background.

A scan whose border has two constants, the air's and the padding's, is neither a stripped one (the padding is no
background) nor one with its head. Padding is an extreme value of the scan, it touches the border, and nothing lies near
it. A scan that has only one constant around the brain is left as it is: what is black there is decided with the brain
known, see :func:`semcycle.preprocess.brain_mask.black_level`.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from semcycle.types import VoxelArray, VoxelMask

MIN_BORDER = 0.02
"""Share of the border's voxels that padding takes at least; ends of a head that leave the field are not one value."""
MIN_GAP = 0.05
"""Distance of padding from the nearest other value, in terms of the range of all others."""
MAX_AIR = 0.1
"""Of the scan's brightness: where padding takes more than half of the border, what lies beside it is no brighter."""


def fill_padding(data: VoxelArray) -> tuple[VoxelArray, str]:
    """Put padding to the intensity of the background.

    Args:
        data: ``(I, J, K)``, finite, of two values or more.

    Returns:
        The scan, itself where it has no padding, and a remark about the padding, empty where there is none.
    """
    border = np.concatenate([np.moveaxis(data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)])
    low, high = float(data.min()), float(data.max())
    for value in (low, high):
        share = float(np.mean(border == np.float32(value)))
        if share < MIN_BORDER or (share >= 0.5 and value == low >= 0):  # the air of nearly every scan
            continue
        padding = data == np.float32(value)
        level = _find_level(data, padding, border, share)
        if level is not None:
            remark = (
                f"{padding.mean():.0%} of the scan, at its border, is padding of {value:g}; it was taken for background"
            )
            return np.where(padding, np.float32(level), data), remark
    return data, ""


def _find_level(data: VoxelArray, padding: VoxelMask, border: VoxelArray, share: float) -> float | None:
    """The background beside a border's constant; ``None`` where the constant is not padding."""
    value, others = float(data[padding][0]), data[~padding]
    low, high = float(others.min()), float(others.max())
    gap = low - value if value < low else value - high
    if gap <= MIN_GAP * (high - low):
        return None
    if share < 0.5:
        level = float(np.median(border[border != np.float32(value)]))
        return level if float(others.mean()) > level else None  # not a background below bright padding
    beside = float(np.median(data[ndimage.binary_dilation(padding) & ~padding]))
    return beside if beside - low <= MAX_AIR * float(np.percentile(others, 99) - low) else None
