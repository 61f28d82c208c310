"""Metrics: pure functions of :class:`ScoreCounts`. They draw nothing, write nothing and know no file.

A voxel is called a lesion when its score is at least the threshold. Every metric is written once, for a :class:`Curve` of
any number of draws at once, so that the number in a table and those of its bootstrap are the same code.

Empty cases: without a lesion voxel every metric but the false-positive rate is undefined (NaN); so are AUROC and whatever is
measured at a false-positive rate without another voxel. Where nothing is called lesion, precision is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.curve import Best, Confusion, Curve, Values, confusion, curve, ratio
from semcycle.scoring.metrics.greedy import greedy_search

# --- over all thresholds ---


def average_precision(c: Curve) -> Values:
    """Sum of (R_n - R_{n-1}) P_n over falling thresholds, as scikit-learn defines it."""
    steps = np.diff(c.true_positives, axis=-1, prepend=0)
    return ratio((steps * c.precision).sum(axis=-1), c.positives)


def trapezoid_precision(c: Curve) -> Values:
    """Trapezoidal area under precision over recall, starting at (0, 1): optimistic where scores tie or are few."""
    steps, precision = np.diff(c.true_positives, axis=-1, prepend=0), c.precision
    before = np.concatenate([np.ones_like(precision[..., :1]), precision[..., :-1]], axis=-1)
    return ratio((steps * (precision + before) / 2).sum(axis=-1), c.positives)


def area_under_roc(c: Curve) -> Values:
    """Chance that a lesion voxel scores above another one, ties counting half."""
    hits = c.true_positives.astype(np.float64)
    before = np.concatenate([np.zeros_like(hits[..., :1]), hits[..., :-1]], axis=-1)
    area = (np.diff(c.false_positives, axis=-1, prepend=0) * (hits + before) / 2).sum(axis=-1)
    return ratio(area, np.multiply(c.positives, c.negatives, dtype=np.float64))


def largest_dice(c: Curve) -> Values:
    """The largest Dice over all thresholds, exactly."""
    return _largest(c.dice)


def largest_iou(c: Curve) -> Values:
    """The largest intersection over union over all thresholds, exactly: Dice / (2 - Dice)."""
    dice = largest_dice(c)
    return dice / (2 - dice)


def recall_at_rate(c: Curve, rate: float) -> Values:
    """Recall at the laxest occurring threshold whose false-positive rate is at most ``rate``; 0 where none is."""
    allowed = c.false_positives <= rate * np.expand_dims(c.negatives, -1)
    hits = np.where(allowed, c.true_positives, 0).max(axis=-1, initial=0)
    return np.where(np.asarray(c.negatives) > 0, ratio(hits, c.positives), np.nan)


# --- at one threshold ---


def dice_of(c: Confusion) -> Values:
    """2 TP / (2 TP + FP + FN); NaN without lesion."""
    return ratio(2 * c.true_positives, np.where(c.positives > 0, c.true_positives + c.false_positives + c.positives, 0))


def precision_of(c: Confusion) -> Values:
    """TP / (TP + FP); 0 where nothing is called lesion, NaN without lesion."""
    value = ratio(c.true_positives, c.true_positives + c.false_positives, 0.0)
    return np.where(c.positives > 0, value, np.nan)


def recall_of(c: Confusion) -> Values:
    """TP / (TP + FN); NaN without lesion."""
    return ratio(c.true_positives, c.positives)


def rate_of(c: Confusion) -> Values:
    """FP / (FP + TN); NaN without a voxel that is no lesion."""
    return ratio(c.false_positives, c.negatives)


# --- of counts ---


def auprc(counts: ScoreCounts) -> float:
    """Step-wise average precision; see :func:`average_precision`. It is not the trapezoidal area."""
    return float(average_precision(curve(counts)))


def auroc(counts: ScoreCounts) -> float:
    """Area under the ROC curve; see :func:`area_under_roc`."""
    return float(area_under_roc(curve(counts)))


def best_dice(counts: ScoreCounts) -> Best:
    """The largest Dice over all thresholds, exactly, and the largest threshold that gives it.

    The threshold is chosen with the truth at hand, so the value is an upper bound (the paper's "best achievable"),
    not what a user gets. NaN without lesion voxels.
    """
    c = curve(counts)
    if not c.positives:
        return Best(float("nan"), float("nan"))
    place = int(c.dice.argmax())
    return Best(float(c.dice[place]), float(c.thresholds[place]))


def best_iou(counts: ScoreCounts) -> Best:
    """The largest intersection over union, at the threshold of the best Dice."""
    dice, threshold = best_dice(counts)
    return Best(dice / (2 - dice), threshold)


def greedy_dice(counts: ScoreCounts) -> Best:
    """Best Dice as the reference code searches it, and the threshold above which it finds it; see :mod:`.greedy`."""
    return Best(*map(float, greedy_search(curve(counts))))


def dice_at(counts: ScoreCounts, threshold: float) -> float:
    """Dice of calling everything lesion that scores at least ``threshold``; NaN without lesion voxels."""
    return float(dice_of(confusion(counts, threshold)))


def threshold_at_fpr(counts: ScoreCounts, rate: float) -> float:
    """The lowest occurring score that at most the share ``rate`` of the negatives reaches.

    Where already the highest score is too common, the next number above it, which calls nothing lesion: infinity.
    NaN without a negative.
    """
    c = curve(counts)
    if not c.negatives:
        return float("nan")
    allowed = int((c.false_positives <= rate * c.negatives).sum())
    return float(c.thresholds[allowed - 1]) if allowed else float("inf")


def prevalence(counts: ScoreCounts) -> float:
    """Share of lesion among all voxels: what AUPRC a random score gets. NaN without any voxel."""
    total = int(counts.positives.sum() + counts.negatives.sum())
    return float(counts.positives.sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Metric:
    """A metric over all thresholds, by name.

    Attributes:
        over: Curve of any number of draws -> values.
        title: For tables.
        higher_is_better: Direction.
        definition: One sentence.
        oracle: Whether the value belongs to a threshold that was chosen with the truth.
        empty: What makes it NaN.
    """

    over: Callable[[Curve], Values]
    title: str
    higher_is_better: bool
    definition: str
    oracle: bool = False
    empty: str = "no lesion voxel"

    def function(self, counts: ScoreCounts) -> float:
        """The value of pooled or per-case counts."""
        return float(self.over(curve(counts)))


@dataclass(frozen=True)
class Measure:
    """What is measured at a given threshold, by name; attributes as for :class:`Metric`."""

    of: Callable[[Confusion], Values]
    title: str
    higher_is_better: bool
    definition: str
    empty: str = "no lesion voxel"

    def function(self, counts: ScoreCounts, threshold: float) -> float:
        """The value of pooled or per-case counts."""
        return float(self.of(confusion(counts, threshold)))


METRICS = {
    "auprc": Metric(average_precision, "AUPRC", True, "step-wise average precision"),
    "auprc_trapezoid": Metric(
        trapezoid_precision, "AUPRC (trapezoid)", True, "trapezoidal area under precision over recall, from (0, 1)"
    ),
    "auroc": Metric(
        area_under_roc,
        "AUROC",
        True,
        "chance that a lesion voxel scores above another, ties counting half",
        empty="no lesion voxel, or no other",
    ),
    "best_dice": Metric(
        largest_dice, "best Dice", True, "largest Dice over all thresholds, chosen on the truth", oracle=True
    ),
    "best_iou": Metric(
        largest_iou, "best IoU", True, "largest intersection over union, chosen on the truth", oracle=True
    ),
    "greedy_dice": Metric(
        lambda c: greedy_search(c).value,
        "greedy Dice",
        True,
        "best Dice as the field's most used code searches it, which can miss it",
        oracle=True,
    ),
} | {
    f"sensitivity_at_fpr_{percent}": Metric(
        partial(recall_at_rate, rate=percent / 100),
        f"sensitivity at {percent} % FPR",
        True,
        f"recall at the laxest threshold that at most {percent} % of the other voxels reach",
        oracle=True,
        empty="no lesion voxel, or no other",
    )
    for percent in (1, 2, 5)
}
"""Name -> metric of pooled or per-case counts, over all thresholds."""

MEASURES = {
    "dice": Measure(dice_of, "Dice", True, "2 TP / (2 TP + FP + FN)"),
    "precision": Measure(precision_of, "precision", True, "TP / (TP + FP), 0 where nothing is called lesion"),
    "recall": Measure(recall_of, "recall", True, "TP / (TP + FN)"),
    "fpr": Measure(rate_of, "FPR", False, "FP / (FP + TN)", empty="no voxel that is no lesion"),
}
"""Name -> measure at a given threshold; in tables with the threshold's rule, ``dice_at_validation``."""


def _largest(values: Values) -> Values:
    """Maximum over the last axis, NaN where that is empty or all NaN."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.max(axis=-1))
