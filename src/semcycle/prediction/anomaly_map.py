"""AnomalyMap: how far every voxel is from its healthy reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from semcycle.types import SliceArray, SliceMask

Sign = Literal["absolute", "positive"]


@dataclass(frozen=True)
class AnomalyMap:
    """Scores of a scan's slices.

    Attributes:
        scores: ``(S, H, W)`` in [0, 1], 0 outside the brain.
        brain: ``(S, H, W)``.
        preset: Name of the post-processing.
    """

    scores: SliceArray
    brain: SliceMask
    preset: str


def residual(x: SliceArray, reconstruction: SliceArray, sign: Sign = "absolute") -> SliceArray:
    """R = |x - G(S(x))| (Eq. 5), or its positive part: only what is brighter than expected (A20).

    Args:
        x: ``(S, H, W)`` in [0, 1].
        reconstruction: ``(S, H, W)`` in [0, 1].
        sign: ``absolute`` or ``positive``.
    """
    difference = np.asarray(x, np.float32) - np.asarray(reconstruction, np.float32)
    return np.abs(difference) if sign == "absolute" else np.maximum(difference, 0)
