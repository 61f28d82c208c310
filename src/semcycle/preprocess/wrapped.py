"""Numbers that a file's type did not hold: bright values that became negative, or went on at zero."""

from __future__ import annotations

import numpy as np

from semcycle.types import VoxelMask
from semcycle.volume import Volume
from semcycle.volume.masks import values_inside

NEGATIVE_LEVEL = -0.5
"""Of the 75th percentile of the brain's magnitudes; interpolation undershoots to -0.3 at most."""
MAX_NEGATIVE_SHARE = 1e-4
"""Of the brain's voxels that may lie below ``NEGATIVE_LEVEL``."""
JUMP = 0.85
"""Of the range of the brain's values: more from a voxel to the next is a fold, the brightest beside the darkest."""
MAX_JUMPS = 5e-4
"""Share of neighbours along the finest axis; 30 scans had at most 5e-5, folded at their 99.5th percentile 1e-3."""


def judge_numbers(volume: Volume, brain: VoxelMask) -> list[str]:
    """What is doubtful about a scan's numbers.

    Args:
        volume: The scan in its own units.
        brain: ``(I, J, K)``, not empty.

    Returns:
        A sentence for each doubt, none for a scan whose values are as they were measured.
    """
    return [doubt for doubt in (_negative(volume, brain), _folded(volume, brain)) if doubt]


def _negative(volume: Volume, brain: VoxelMask) -> str:
    """Unsigned 16-bit values read as signed turn the brightest voxels negative."""
    values = values_inside(volume.data, brain)
    share = float((values < NEGATIVE_LEVEL * np.percentile(np.abs(values), 75)).mean())
    if share <= MAX_NEGATIVE_SHARE:
        return ""
    return (
        f"{share:.2%} of the brain's voxels are far below zero, down to {values.min():g}: values over 32767 "
        "that were stored as signed, or a scan that was standardised or shifted; convert it again from its source"
    )


def _folded(volume: Volume, brain: VoxelMask) -> str:
    """Values beyond what 8, 12 or 16 bits hold that go on at zero; a saturated scan has its brightest value often."""
    axis = int(np.argmin(volume.spacing))
    data, brain = np.moveaxis(volume.data, axis, 0), np.moveaxis(brain, axis, 0)
    inside = data[brain]
    high = float(inside.max())
    span = high - float(inside.min())
    near = np.count_nonzero(inside > high - 0.02 * span)
    if 2 * np.count_nonzero(inside == high) > near:
        return ""
    pairs = brain[1:] & brain[:-1]
    share = float(np.mean(np.abs(data[1:][pairs] - data[:-1][pairs]) > JUMP * span)) if pairs.any() else 0.0
    if share <= MAX_JUMPS:
        return ""
    return (
        f"{share:.2%} of neighbouring voxels are the brain's darkest beside its brightest: values beyond the file's "
        "number type that were wrapped around; convert it again from its source"
    )
