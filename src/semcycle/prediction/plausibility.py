"""Plausibility: whether a scan is what the model knows, in sentences that carry the figure they rest on.

Limits were set on 45 real scans: T2 of tumours, MS and health from a dozen scanners, one PD, two T1. No FLAIR
was at hand; its dark CSF was put into the T2 scans instead.
"""

from __future__ import annotations

import numpy as np

from semcycle.methods.base import Reconstructed
from semcycle.prediction.filters import erode
from semcycle.preprocess.pipeline import Prepared
from semcycle.types import Spacing
from semcycle.volume import Volume
from semcycle.volume.masks import values_inside

_SURE = 0.8
"""Probability from which a voxel stands for its tissue."""
_ENOUGH = 300
"""Voxels of a tissue, or of the brain away from its edge, from which a figure is taken."""
MIN_BRIGHTNESS_SKEW = 1.0
"""The 99th percentile of a T2 brain lies 1.1 to 6 times as far above its median as the 1st below; PD 0.6, T1 0.5."""
DARK_LEVEL = 0.4
"""Of the brain's median: darker is a void, air, bone, or CSF that is not bright."""
MAX_DARK_SHARE = 0.02
"""Of the voxels deep in a T2 brain at most 0.009 were that dark; with the CSF of a FLAIR at least 0.04."""
MAX_LESION_SHARE = 0.25
"""Of the brain; the largest of 27 tumours took 0.19."""
NEGATIVE_LEVEL = -0.5
"""Of the 75th percentile of the brain's magnitudes; interpolation undershoots to -0.3 at most."""
MAX_NEGATIVE_SHARE = 1e-4
"""Of the brain's voxels that may lie below ``NEGATIVE_LEVEL``."""
JUMP = 0.85
"""Of the range of the brain's values: more from a voxel to the next is a fold, the brightest beside the darkest."""
MAX_JUMPS = 5e-4
"""Share of neighbours along the finest axis; 30 scans had at most 5e-5, folded at their 99.5th percentile 1e-3."""
RESIDUAL_MARGIN = 1.25
"""Factor on the largest typical residual of the scans a model was calibrated on."""


def typical_residual(prepared: Prepared, reconstruction: Reconstructed) -> float:
    """Median of |x - G(S(x))| in the brain: lesions are the smaller part of it and hardly move it."""
    difference = prepared.image[prepared.brain] - reconstruction.image[prepared.brain]
    return float(np.median(np.abs(difference)))


def judge_scan(
    volume: Volume,
    prepared: Prepared,
    reconstruction: Reconstructed,
    spacing: Spacing,
    largest_residual: float | None = None,
) -> list[str]:
    """What is doubtful about a scan.

    Args:
        volume: The scan in its own units.
        prepared: The scan on the working grid.
        reconstruction: What the model made of it.
        spacing: Voxel size ``(S, H, W)`` in mm of the working grid.
        largest_residual: Largest :func:`typical_residual` of the scans the model was calibrated on.

    Returns:
        A sentence for each doubt, none for a scan like those the model knows.
    """
    checks = [
        _negative(volume, prepared),
        _folded(volume, prepared),
        _order(prepared, reconstruction),
        _skew(prepared, spacing),
    ]
    checks += [_dark(prepared, spacing), _unlike(prepared, reconstruction, largest_residual)]
    return [doubt for doubt in checks if doubt]


def judge_lesions(lesion_ml: float, brain_ml: float) -> list[str]:
    """Whether so much of the brain is called lesion that the call is doubtful."""
    share = lesion_ml / brain_ml
    if share <= MAX_LESION_SHARE:
        return []
    return [f"{share:.0%} of the brain is called lesion (plausible: at most {MAX_LESION_SHARE:.0%})"]


def _negative(volume: Volume, prepared: Prepared) -> str:
    """Unsigned 16-bit values read as signed turn the brightest voxels negative."""
    values = values_inside(volume.data, prepared.brain_native)
    share = float((values < NEGATIVE_LEVEL * np.percentile(np.abs(values), 75)).mean())
    if share <= MAX_NEGATIVE_SHARE:
        return ""
    return (
        f"{share:.2%} of the brain's voxels are far below zero, down to {values.min():g}: values over 32767 "
        "that were stored as signed, or a scan that was standardised or shifted; convert it again from its source"
    )


def _folded(volume: Volume, prepared: Prepared) -> str:
    """Values beyond what 8, 12 or 16 bits hold that go on at zero; a saturated scan has its brightest value often."""
    axis = int(np.argmin(volume.spacing))
    data, brain = np.moveaxis(volume.data, axis, 0), np.moveaxis(prepared.brain_native, axis, 0)
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


def _order(prepared: Prepared, reconstruction: Reconstructed) -> str:
    """White matter is the darker tissue in T2 and the brighter one in T1."""
    if reconstruction.tissue is None:
        return ""
    inside = prepared.image[prepared.brain]
    sure = reconstruction.tissue.transpose(1, 0, 2, 3)[:2, prepared.brain] > _SURE
    if sure.sum(axis=1).min() < _ENOUGH:
        return ""
    gm, wm = (float(np.median(inside[voxels]) / np.median(inside)) for voxels in sure)
    if wm < gm:
        return ""
    return f"no T2: white matter at {wm:.2f} of the brain's median is brighter than grey at {gm:.2f}, as in T1"


def _skew(prepared: Prepared, spacing: Spacing) -> str:
    """CSF makes the bright values of T2 reach farther from the median than the dark ones."""
    inside = prepared.image[erode(prepared.brain, 6.0, spacing[1:])]
    if len(inside) < _ENOUGH:
        return ""
    low, middle, high = np.percentile(inside, [1, 50, 99])
    skew = float((high - middle) / max(middle - low, 1e-6))
    if skew >= MIN_BRIGHTNESS_SKEW:
        return ""
    return (
        f"hardly T2 weighted: bright values reach {skew:.2f} times as far from the brain's median as dark ones "
        "(T2: 1.1 or more), as in T1 or PD"
    )


def _dark(prepared: Prepared, spacing: Spacing) -> str:
    """Deep in a T2 brain nearly nothing is dark."""
    inside = prepared.image[erode(prepared.brain, 12.0, spacing[1:])]
    if len(inside) < _ENOUGH:
        return ""
    share = float((inside < DARK_LEVEL * np.median(prepared.image[prepared.brain])).mean())
    if share <= MAX_DARK_SHARE:
        return ""
    return (
        f"{share:.1%} of the voxels deep in the brain are darker than {DARK_LEVEL} of its median (T2: at most 1 %): "
        "dark CSF as in FLAIR or T1, a void of metal or air, or bone within the brain mask"
    )


def _unlike(prepared: Prepared, reconstruction: Reconstructed, largest: float | None) -> str:
    """A brain that the model paints worse than any it was calibrated on."""
    residual = typical_residual(prepared, reconstruction)
    if largest is None or residual <= RESIDUAL_MARGIN * largest:
        return ""
    return (
        f"a brain unlike those the model was calibrated on: typical difference to its reconstruction {residual:.3f} "
        f"(calibration: at most {largest:.3f}); another scanner, sequence or age, or skull within the brain mask"
    )
