"""ScoreCounts: how many lesion and healthy voxels have each score. Every metric is a function of them.

Scores in [0, 1] are coded in 16 bits, ``code = round(score * 65535)``, and counted. Counts of slices, cases, processes
and machines add exactly, and memory does not grow with the number of voxels. Coding is monotone; two scores
closer than 1 / 65535 may share a code, which is the only approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError

BINS = 65_536


@dataclass(frozen=True, eq=False)
class ScoreCounts:
    """Voxels by truth and score code.

    Attributes:
        positives: ``(65536,)`` int64, lesion voxels of each code.
        negatives: ``(65536,)`` int64, other voxels of each code.
    """

    positives: NDArray[np.int64]
    negatives: NDArray[np.int64]

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return ScoreCounts(self.positives + other.positives, self.negatives + other.negatives)

    @classmethod
    def empty(cls) -> ScoreCounts:
        """No voxel at all: the neutral element of ``+``."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64))


def count_scores(scores: NDArray[np.floating], truth: NDArray[np.bool_], region: NDArray[np.bool_]) -> ScoreCounts:
    """Count the voxels of a region.

    Args:
        scores: Any shape, in [0, 1] within the region.
        truth: Same shape, lesion.
        region: Same shape, which voxels count.

    Raises:
        ScoringError: Shapes differ, or a score in the region is not finite or outside [0, 1].
    """
    if not scores.shape == truth.shape == region.shape:
        msg = f"expected scores, truth and region of one shape, got {scores.shape}, {truth.shape}, {region.shape}"
        raise ScoringError(msg)
    inside = scores[region]
    if inside.size and not (inside.min() >= 0 and inside.max() <= 1):  # false for NaN as well
        msg = f"expected scores in [0, 1], got {inside.min():g} to {inside.max():g}; rescale them"
        raise ScoringError(msg)
    codes = np.rint(inside * np.float32(BINS - 1)).astype(np.int64)
    # one pass: lesion voxels are counted in the upper half of a table of twice the length
    table = np.bincount(codes + BINS * truth[region], minlength=2 * BINS)
    return ScoreCounts(table[BINS:], table[:BINS])


def code_of(threshold: float) -> int:
    """Code of a score in [0, 1]."""
    return int(np.rint(threshold * (BINS - 1)))
