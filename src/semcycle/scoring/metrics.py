"""Metrics: pure functions of :class:`ScoreCounts`. They draw nothing, write nothing and know no file.

A voxel is called a lesion when its score is at least the threshold. Without any lesion voxel, or without any
other voxel, ranking metrics are undefined and return NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.counts import BINS, ScoreCounts, code_of


class Curve(NamedTuple):
    """Confusion counts for every threshold that changes them, from strict to lax.

    Attributes:
        thresholds: ``(T,)`` descending.
        true_positives: ``(T,)`` lesion voxels scored at least the threshold.
        false_positives: ``(T,)`` other voxels scored at least the threshold.
        positives: All lesion voxels.
        negatives: All other voxels.
    """

    thresholds: NDArray[np.float64]
    true_positives: NDArray[np.int64]
    false_positives: NDArray[np.int64]
    positives: int
    negatives: int

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of lesion among what is called lesion."""
        return self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the lesion that is called lesion; NaN without any."""
        return self.true_positives / self.positives if self.positives else np.full(len(self.thresholds), np.nan)

    @property
    def dice(self) -> NDArray[np.float64]:
        """2 TP / (2 TP + FP + FN)."""
        return 2 * self.true_positives / (self.true_positives + self.false_positives + self.positives)


class BestDice(NamedTuple):
    """A Dice score and the threshold that gives it (voxels scored at least this are lesion)."""

    dice: float
    threshold: float


def curve(counts: ScoreCounts) -> Curve:
    """Confusion counts at every score that occurs."""
    occurring = np.flatnonzero(counts.positives + counts.negatives)[::-1]
    return Curve(
        occurring / (BINS - 1),
        np.cumsum(counts.positives[occurring]),
        np.cumsum(counts.negatives[occurring]),
        int(counts.positives.sum()),
        int(counts.negatives.sum()),
    )


def auprc(counts: ScoreCounts) -> float:
    """Average precision: the sum of (R_n - R_{n-1}) P_n over falling thresholds, as scikit-learn defines it.

    It is not the trapezoidal area under the precision-recall curve, which is optimistic where scores tie.
    """
    c = curve(counts)
    if not c.positives:
        return float("nan")
    return float((np.diff(c.true_positives, prepend=0) / c.positives * c.precision).sum())


def auroc(counts: ScoreCounts) -> float:
    """Area under the ROC curve: the chance that a lesion voxel scores above another one, ties counting half."""
    positives, negatives = int(counts.positives.sum()), int(counts.negatives.sum())
    if not positives or not negatives:
        return float("nan")
    below = np.cumsum(counts.negatives) - counts.negatives
    return float((counts.positives * (below + counts.negatives / 2)).sum() / (positives * negatives))


def best_dice(counts: ScoreCounts) -> BestDice:
    """The largest Dice over all thresholds, exactly, and the largest threshold that gives it.

    The threshold is chosen with the truth at hand, so the value is an upper bound (the paper's "best achievable"),
    not what a user gets. NaN without lesion voxels.
    """
    c = curve(counts)
    if not c.positives:
        return BestDice(float("nan"), float("nan"))
    best = int(c.dice.argmax())
    return BestDice(float(c.dice[best]), float(c.thresholds[best]))


def dice_at(counts: ScoreCounts, threshold: float) -> float:
    """Dice of calling everything lesion that scores at least ``threshold``; NaN without lesion voxels."""
    if not counts.positives.sum():
        return float("nan")
    code = code_of(threshold)
    tp, fp = counts.positives[code:].sum(), counts.negatives[code:].sum()
    return float(2 * tp / (tp + fp + counts.positives.sum()))


def greedy_dice(counts: ScoreCounts) -> BestDice:
    """Best Dice as the reference code of Baur et al. searches it, for comparison with published numbers.

    Thresholds 0, 0.1, ... 0.9 (strictly above counts as lesion); at the first fall of the Dice the two last
    intervals are searched again ten times finer, and so on for nine levels. It misses optima above 0.9 and those
    behind a first dip; :func:`best_dice` does not.
    """

    def dice(threshold: float) -> float:
        code = code_of(threshold) + 1
        tp, fp = counts.positives[code:].sum(), counts.negatives[code:].sum()
        return float(2 * tp / max(tp + fp + counts.positives.sum(), 1))

    return search_greedily(dice) if counts.positives.sum() else BestDice(float("nan"), float("nan"))


def search_greedily(dice: Callable[[float], float], levels: int = 9) -> BestDice:
    """The reference code's search on any function of the threshold."""
    found: list[tuple[float, float]] = []

    def descend(start: float, stop: float, level: int) -> None:
        step = 10.0**-level
        thresholds = [start + index * step for index in range(round((stop - start) / step))]
        scores: list[float] = []
        searched = level == levels
        for index, threshold in enumerate(thresholds):
            scores.append(dice(threshold))
            found.append((scores[-1], threshold))
            if not searched and index >= 2 and scores[-1] <= scores[-2]:
                searched = True
                descend(thresholds[index - 2], threshold, level + 1)

    descend(0.0, 1.0, 1)
    best = max(score for score, _ in found)
    return BestDice(best, min(threshold for score, threshold in found if score == best))


def prevalence(counts: ScoreCounts) -> float:
    """Share of lesion among all voxels: what AUPRC a random score gets. NaN without any voxel."""
    total = int(counts.positives.sum() + counts.negatives.sum())
    return float(counts.positives.sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Metric:
    """A metric by name.

    Attributes:
        function: Counts -> value.
        title: For tables.
        higher_is_better: Direction.
        definition: One sentence.
    """

    function: Callable[[ScoreCounts], float]
    title: str
    higher_is_better: bool
    definition: str


METRICS = {
    "auprc": Metric(auprc, "AUPRC", True, "step-wise average precision"),
    "best_dice": Metric(
        lambda counts: best_dice(counts).dice,
        "best Dice",
        True,
        "largest Dice over all thresholds, chosen on the truth",
    ),
    "auroc": Metric(auroc, "AUROC", True, "chance that a lesion voxel scores above another"),
}
"""Name -> metric of pooled or per-case counts."""
