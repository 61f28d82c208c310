"""Curve: confusion counts at every threshold, the one thing all metrics are read from."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.metrics.counts import ScoreCounts

Values = NDArray[np.float64]


class Best(NamedTuple):
    """The best value of a metric and the threshold that gives it (voxels scored at least this are lesion)."""

    value: float
    threshold: float


class Curve(NamedTuple):
    """Confusion counts for every threshold that changes them, from strict to lax; leading axes are draws, if any.

    Attributes:
        thresholds: ``(T,)`` descending.
        true_positives: ``(..., T)`` lesion voxels scored at least the threshold.
        false_positives: ``(..., T)`` other voxels scored at least the threshold.
        positives: ``(...)`` all lesion voxels.
        negatives: ``(...)`` all other voxels.
    """

    thresholds: Values
    true_positives: NDArray[Any]
    false_positives: NDArray[Any]
    positives: Any
    negatives: Any

    @property
    def precision(self) -> Values:
        """Share of lesion among what is called lesion; 0 where nothing is."""
        return ratio(self.true_positives, self.true_positives + self.false_positives, 0.0)

    @property
    def recall(self) -> Values:
        """Share of the lesion that is called lesion; NaN without any."""
        return ratio(self.true_positives, np.expand_dims(self.positives, -1))

    @property
    def false_positive_rate(self) -> Values:
        """Share of the other voxels that is called lesion; NaN without any."""
        return ratio(self.false_positives, np.expand_dims(self.negatives, -1))

    @property
    def dice(self) -> Values:
        """2 TP / (2 TP + FP + FN); NaN without lesion."""
        positives = np.expand_dims(self.positives, -1)
        called = self.true_positives + self.false_positives
        return ratio(2 * self.true_positives, np.where(positives > 0, called + positives, 0))


class Confusion(NamedTuple):
    """Voxels by truth and call at one threshold; arrays of one shape."""

    true_positives: NDArray[Any]
    false_positives: NDArray[Any]
    positives: NDArray[Any]
    negatives: NDArray[Any]


def curve(counts: ScoreCounts) -> Curve:
    """Confusion counts at every score that occurs."""
    positives, negatives = (voxels[::-1] for voxels in counts.occurring)
    return Curve(
        counts.code.decode(counts.codes[::-1]),
        np.cumsum(positives),
        np.cumsum(negatives),
        int(positives.sum()),
        int(negatives.sum()),
    )


def confusion(counts: ScoreCounts, threshold: float) -> Confusion:
    """Confusion counts at a threshold, as 0-d arrays; all NaN at a threshold of NaN."""
    if np.isnan(threshold):
        return Confusion(*np.full(4, np.nan))
    positives, negatives = counts.occurring
    called = counts.codes >= counts.code.first_code(threshold)
    return Confusion(positives[called].sum(), negatives[called].sum(), positives.sum(), negatives.sum())


def ratio(above: Any, below: Any, empty: float = np.nan) -> Values:
    """Quotient, ``empty`` where the denominator is 0."""
    below = np.asarray(below, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below == 0, empty, np.asarray(above, np.float64) / below)
