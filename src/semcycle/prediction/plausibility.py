"""Plausibility: whether a scan is what the model knows, in sentences that carry the figure they rest on.

Limits were set on 45 real scans: T2 of tumours, MS and health from a dozen scanners, one PD, two T1. No FLAIR
was at hand; its dark CSF was put into the T2 scans instead.
"""

from __future__ import annotations

import numpy as np

from semcycle.methods.base import Reconstructed
from semcycle.prediction.filters import erode
from semcycle.preprocess.pipeline import Prepared
from semcycle.preprocess.wrapped import judge_numbers
from semcycle.types import Spacing
from semcycle.volume import Volume

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
    checks = [_order(prepared, reconstruction), _skew(prepared, spacing)]
    checks += [_dark(prepared, spacing), _unlike(prepared, reconstruction, largest_residual)]
    return [*judge_numbers(volume, prepared.brain_native), *filter(None, checks)]


def judge_lesions(lesion_ml: float, brain_ml: float) -> list[str]:
    """Whether so much of the brain is called lesion that the call is doubtful."""
    share = lesion_ml / brain_ml
    if share <= MAX_LESION_SHARE:
        return []
    return [f"{share:.0%} of the brain is called lesion (plausible: at most {MAX_LESION_SHARE:.0%})"]


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
