"""ScoreCounts: how many lesion and healthy voxels have each score. Every metric is a function of them.

Scores are coded in 16 bits, monotonically (:mod:`semcycle.scoring.metrics.codes`), and counted. Counts of slices,
cases, processes and machines add exactly, and memory does not grow with the number of voxels. Scores that share a code
are the only approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.codes import BINS, CHUNK, UNIT, ScoreCode


class ScoreCounts:
    """Voxels by truth and score code; only codes that occur take memory, so that those of a hundred cases can be kept.

    Args:
        positives: ``(65536,)`` lesion voxels of each code.
        negatives: ``(65536,)`` other voxels of each code.
        code: What the codes mean.

    Attributes:
        code: What the codes mean.
        codes: ``(K,)`` codes that occur, ascending.
    """

    __slots__ = ("_negatives", "_positives", "code", "codes")

    def __init__(
        self, positives: NDArray[np.integer[Any]], negatives: NDArray[np.integer[Any]], code: ScoreCode = UNIT
    ) -> None:
        self.code = code
        self.codes: NDArray[np.uint16] = np.flatnonzero((positives != 0) | (negatives != 0)).astype(np.uint16)
        self._positives, self._negatives = (_narrow(voxels[self.codes]) for voxels in (positives, negatives))

    @property
    def positives(self) -> NDArray[np.int64]:
        """``(65536,)`` lesion voxels of each code."""
        return self._spread(self._positives)

    @property
    def negatives(self) -> NDArray[np.int64]:
        """``(65536,)`` other voxels of each code."""
        return self._spread(self._negatives)

    @property
    def occurring(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Lesion and other voxels ``(K,)`` of the codes that occur."""
        return self._positives.astype(np.int64), self._negatives.astype(np.int64)

    def __add__(self, other: ScoreCounts) -> ScoreCounts:
        return pool([self, other])

    @classmethod
    def empty(cls, code: ScoreCode = UNIT) -> ScoreCounts:
        """No voxel at all: the neutral element of ``+``."""
        return cls(np.zeros(BINS, np.int64), np.zeros(BINS, np.int64), code)

    def _spread(self, voxels: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        table = np.zeros(BINS, np.int64)
        table[self.codes] = voxels
        return table


def pool(counts: Sequence[ScoreCounts]) -> ScoreCounts:
    """Counts of several cases, slices or machines together.

    Args:
        counts: At least one.

    Raises:
        ScoringError: Their codes differ.
    """
    positives, negatives = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for part in counts:
        if part.code != counts[0].code:
            msg = "expected counts of one score code, got two; fit one code to all cases before counting"
            raise ScoringError(msg)
        hits, others = part.occurring
        positives[part.codes] += hits
        negatives[part.codes] += others
    return ScoreCounts(positives, negatives, counts[0].code)


def _narrow(voxels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
    """The same numbers in four bytes each, if they fit."""
    return voxels.astype(np.uint32) if voxels.size and voxels.max() < 2**32 else voxels.astype(np.int64)


def count_scores(
    scores: NDArray[Any], truth: NDArray[np.bool_], region: NDArray[np.bool_] | None = None, code: ScoreCode = UNIT
) -> ScoreCounts:
    """Count the voxels of a region, some at a time.

    Args:
        scores: Any shape; within the region in [0, 1], or in the range of ``code``.
        truth: Same shape, lesion.
        region: Same shape, which voxels count; all without.
        code: Of the scores.

    Raises:
        ScoringError: Shapes differ, or a score in the region is not finite or outside the code's range.
    """
    shapes = [array.shape for array in (scores, truth, region) if array is not None]
    if len(set(shapes)) > 1:
        msg = f"expected scores, truth and region of one shape, got {', '.join(map(str, shapes))}"
        raise ScoringError(msg)
    if scores.ndim > 1 and scores.flags.f_contiguous:  # as NIfTI files are: walk along memory
        scores, truth, region = scores.T, truth.T, None if region is None else region.T
    scores, truth = scores.reshape(-1), truth.reshape(-1)
    where = None if region is None else region.reshape(-1)
    positives, everything = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for start in range(0, scores.size, CHUNK):
        part = slice(start, start + CHUNK)
        inside = slice(None) if where is None else where[part]
        codes, lesion = code.encode(scores[part][inside]), truth[part][inside]
        everything += np.bincount(codes, minlength=BINS)
        if lesion.any():
            positives += np.bincount(codes[lesion], minlength=BINS)
    return ScoreCounts(positives, everything - positives, code)


def count_codes(codes: NDArray[np.uint16], truth: NDArray[np.bool_], code: ScoreCode = UNIT) -> ScoreCounts:
    """Count voxels whose scores are coded already.

    Args:
        codes: ``(N,)``.
        truth: ``(N,)`` lesion.
        code: Of the codes.
    """
    positives = np.bincount(codes[truth], minlength=BINS)
    return ScoreCounts(positives, np.bincount(codes, minlength=BINS) - positives, code)
