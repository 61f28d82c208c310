"""AnomalyMap: how far every voxel is from its healthy reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from semcycle.types import SliceArray, SliceMask, TissueSlices

Sign = Literal["absolute", "positive"]


class Reconstructed(NamedTuple):
    """What a method made of a scan's slices.

    Attributes:
        image: ``(S, H, W)`` healthy reconstruction in [0, 1].
        tissue: ``(S, 3, H, W)`` GM, WM, CSF where the method has them.
        score: ``(S, H, W)`` anomaly score in [0, 1] where it is something else than the residual.
    """

    image: SliceArray
    tissue: TissueSlices | None = None
    score: SliceArray | None = None


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
