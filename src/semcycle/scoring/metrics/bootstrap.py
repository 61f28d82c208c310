"""Intervals and tests: how much a score would vary with other subjects of the same kind.

Subjects are drawn with replacement, with all their cases; voxels are no independent samples, subjects are. A draw is a
row of weights, and every statistic is a function of many such rows at once: pooled metrics of weighted sums of counts,
means and medians of weighted cases. Row 0 weighs everybody once; the jackknife that BCa needs are further rows.

From [efron1993]: percentile interval (13.3), BCa interval (14.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from semcycle.scoring.metrics.codes import BINS
from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.curve import Curve
from semcycle.scoring.metrics.metrics import Metric

_GROUPS = 2048
"""Thresholds kept for resampling pooled counts, spread over the logarithm of how many voxels reach them: neighbours
differ by 1 % at most (180 million voxels). What that moves the value by is taken back from every draw."""
DRAWS_AT_ONCE = 128
"""Draws whose curves are in memory at a time."""
LEVEL = 0.95
Sums = TypeVar("Sums", bound=tuple)
"""Named tuple of numbers that add over cases."""


class Interval(NamedTuple):
    """95 % interval by both recipes; NaN where it cannot be told."""

    low: float
    high: float
    low_bca: float
    high_bca: float


UNKNOWN = Interval(np.nan, np.nan, np.nan, np.nan)


@dataclass(frozen=True)
class Draws:
    """A statistic under resampling.

    Attributes:
        value: Of the cases as they are.
        resampled: ``(R,)``, NaN for draws in which it is undefined.
        jackknife: ``(S,)``, each without one subject.
    """

    value: float
    resampled: NDArray[np.float64]
    jackknife: NDArray[np.float64]

    def __sub__(self, other: Draws) -> Draws:
        """The paired difference; both come from the same resamples."""
        return Draws(self.value - other.value, self.resampled - other.resampled, self.jackknife - other.jackknife)

    def interval(self) -> Interval:
        """Percentile and BCa interval; unknown with fewer than two informative subjects or hardly a defined draw."""
        drawn = self.resampled[np.isfinite(self.resampled)]
        if not np.isfinite(self.value) or len(drawn) < max(20, len(self.resampled) / 2):
            return UNKNOWN
        tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = np.quantile(drawn, tails)
        share = ((drawn < self.value).sum() + (drawn == self.value).sum() / 2) / len(drawn)
        known = self.jackknife[np.isfinite(self.jackknife)]
        off = known.mean() - known if len(known) > 1 else np.zeros(1)
        spread = (off**2).sum() ** 1.5
        if not 0 < share < 1 or spread == 0:
            return Interval(float(low), float(high), float(low), float(high))
        skew = (off**3).sum() / (6 * spread)
        shifted = ndtri(share) + ndtri(tails)
        shrunk = 1 - skew * shifted
        place = np.where(shrunk > 0, ndtri(share) + shifted / np.maximum(shrunk, 1e-9), np.copysign(np.inf, shifted))
        low_bca, high_bca = np.quantile(drawn, ndtr(place))
        return Interval(float(low), float(high), float(low_bca), float(high_bca))

    def p_value(self) -> float:
        """Two-sided p of the hypothesis that the statistic is 0, by how many draws lie on either side of it.

        Twice the smaller share, counting the observed value as one more draw: never below 2 / (R + 1).
        """
        drawn = self.resampled[np.isfinite(self.resampled)]
        if not np.isfinite(self.value) or not len(drawn):
            return float("nan")
        smaller = min((drawn <= 0).sum(), (drawn >= 0).sum())
        return float(min(1.0, 2 * (smaller + 1) / (len(drawn) + 1)))


class SubjectBootstrap:
    """Draws of subjects, the same for every method that is scored on the same cases.

    Args:
        subjects: Of every case; the cases of one stay together.
        resamples: How many.
        seed: Same seed, same draws.
    """

    def __init__(self, subjects: Sequence[str], *, resamples: int = 2000, seed: int = 0) -> None:
        names, place = np.unique(np.array(subjects, dtype=str), return_inverse=True)
        count = len(names)
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
        rows = np.concatenate([np.ones((1, count)), drawn, 1 - np.eye(count)])
        self.resamples = resamples
        self.subjects = place
        self.weights = rows[:, place]  # (1 + R + S, C)

    def draws(self, values: NDArray[np.float64], value: float | None = None) -> Draws:
        """Sort the rows of a statistic ``(1 + R + S,)``; ``value`` is the exact one where row 0 approximates it.

        The resamples are shifted by the difference, which is the approximation's own.
        """
        shift = 0.0 if value is None or not np.isfinite(values[0]) else value - values[0]
        cut = 1 + self.resamples
        return Draws(float(values[0] + shift), values[1:cut] + shift, values[cut:] + shift)

    def mean(self, values: NDArray[np.float64]) -> Draws:
        """Mean over cases of ``(C,)`` values, those that are NaN left out."""
        known = np.isfinite(values)
        top, bottom = self.weights @ np.where(known, values, 0), self.weights @ known.astype(float)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(bottom > 0, top / bottom, np.nan)
        return self.known(self.draws(means), known)

    def median(self, values: NDArray[np.float64]) -> Draws:
        """Median over cases of ``(C,)`` values, those that are NaN left out."""
        known = np.flatnonzero(np.isfinite(values))
        if not len(known):
            return self.draws(np.full(len(self.weights), np.nan))
        order = known[np.argsort(values[known], kind="stable")]
        ranked, reached = values[order], np.cumsum(self.weights[:, order], axis=1)
        half = reached[:, -1:] / 2
        low, high = (reached < half).sum(axis=1), (reached <= half).sum(axis=1)
        last = len(order) - 1
        middle = (ranked[np.minimum(low, last)] + ranked[np.minimum(high, last)]) / 2
        medians = np.where(reached[:, -1] > 0, middle, np.nan)
        return self.known(self.draws(medians), np.isfinite(values))

    def pooled(
        self, counts: Sequence[ScoreCounts], metrics: Mapping[str, Metric], exact: Mapping[str, float]
    ) -> dict[str, Draws]:
        """Metrics over all thresholds of the counts of all cases together.

        Args:
            counts: One a case, of one code.
            metrics: Name -> metric that reads a curve.
            exact: Name -> its value on all counts; resampled ones are computed on ``_GROUPS`` thresholds and shifted to
                agree.
        """
        # hits and alarms of every case at every threshold kept: sums over cases of cumulated counts are cumulated
        thresholds, hits, alarms = _cumulated(counts)
        drawn: dict[str, list[NDArray[np.float64]]] = {name: [] for name in metrics}
        for start in range(0, len(self.weights), DRAWS_AT_ONCE):
            weights = self.weights[start : start + DRAWS_AT_ONCE]
            true, false = weights @ hits, weights @ alarms
            c = Curve(thresholds, true, false, true[:, -1], false[:, -1])
            for name, metric in metrics.items():
                drawn[name].append(metric.function(c))
        informative = hits[:, -1] > 0
        return {
            name: self.known(self.draws(np.concatenate(values), exact[name]), informative)
            for name, values in drawn.items()
        }

    def summed(self, metric: Metric, cases: Sums) -> Draws:
        """A metric of all cases together, from what it reads of each: a named tuple of ``(C,)`` numbers that add."""
        totals = type(cases)(*(self.weights @ np.asarray(part, float) for part in cases))
        return self.known(self.draws(metric.function(totals)), np.isfinite(metric.function(cases)))

    def known(self, draws: Draws, informative: NDArray[np.bool_]) -> Draws:
        """Leave the draws out where fewer than two subjects have anything to say."""
        if len(np.unique(self.subjects[informative])) > 1:
            return draws
        return Draws(draws.value, np.full_like(draws.resampled, np.nan), np.full_like(draws.jackknife, np.nan))


def _cumulated(counts: Sequence[ScoreCounts]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds ``(T,)`` descending, and how many lesion and other voxels of every case reach them ``(C, T)``."""
    everything = np.zeros(BINS, np.int64)
    for part in counts:
        everything[part.codes] += np.add(*part.occurring)
    used = np.flatnonzero(everything)[::-1]
    if not len(used):
        return np.zeros(1), np.zeros((len(counts), 1)), np.zeros((len(counts), 1))
    ranks = np.log(np.cumsum(everything[used]))
    group = np.floor((ranks - ranks[0]) / max(ranks[-1] - ranks[0], 1e-9) * (_GROUPS - 1)).astype(np.int64)
    last = np.flatnonzero(np.diff(group, append=group[-1] + 1))
    parts = [
        np.cumsum(np.stack([part.positives[used], part.negatives[used]]), axis=1)[:, last].astype(float)
        for part in counts
    ]
    hits, alarms = np.stack(parts, axis=1)
    return counts[0].code.decode(used[last]), hits, alarms
