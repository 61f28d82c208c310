"""Metrics: pure functions of counts. They draw nothing, write nothing and know no file.

A voxel is called a lesion when its score is at least the threshold. Every metric is written once, for arrays of any
number of cases or draws, so that the number in a table, those of the cases and those of the bootstrap are the same
code. A metric is a function and a line in ``METRICS``: tables, pages and docs read everything they say of it there.

Empty cases: without a lesion voxel every metric but the false-positive rate is undefined (NaN); so are AUROC and
whatever is measured at a false-positive rate without another voxel. Where nothing is called lesion, precision is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.curve import Best, Confusion, Curve, Values, curve, ratio
from semcycle.scoring.metrics.greedy import greedy_search
from semcycle.scoring.metrics.policies import PER_CASE, POLICIES, POOLED

if TYPE_CHECKING:
    from semcycle.scoring.metrics.lesions import LesionCounts

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


# --- thresholds that a metric chooses for itself, from a curve without draws ---


def best_threshold(c: Curve) -> float:
    """The largest threshold of the largest Dice; NaN without lesion."""
    return float(c.thresholds[int(c.dice.argmax())]) if c.positives else float("nan")


def threshold_at_rate(c: Curve, rate: float) -> float:
    """See :func:`threshold_at_fpr`."""
    if not c.negatives:
        return float("nan")
    allowed = int((c.false_positives <= rate * c.negatives).sum())
    return float(c.thresholds[allowed - 1]) if allowed else float("inf")


# --- of lesions, surfaces, reconstructions ---


def lesions_found(c: LesionCounts) -> Values:
    """Lesions found of all; NaN without any."""
    return ratio(c.lesions_found, c.lesions)


def true_calls(c: LesionCounts) -> Values:
    """True calls of all; NaN without any."""
    return ratio(c.components_true, c.components)


def lesion_f1(c: LesionCounts) -> Values:
    """Harmonic mean of both: NaN without a lesion, 0 where nothing was found."""
    sensitivity, precision = lesions_found(c), np.nan_to_num(true_calls(c))
    return ratio(2 * sensitivity * precision, sensitivity + precision, 0.0)


class ErrorSums(NamedTuple):
    """Sums of |x - reconstruction| in the brain, and over how many voxels; they add over cases."""

    healthy: Any
    lesion: Any
    healthy_voxels: Any
    lesion_voxels: Any


def healthy_error(c: ErrorSums) -> Values:
    """Mean over the brain outside lesions."""
    return ratio(c.healthy, c.healthy_voxels)


def residual_ratio(c: ErrorSums) -> Values:
    """Mean within lesions over that outside; NaN where either is undefined or the latter 0."""
    return ratio(ratio(c.lesion, c.lesion_voxels), healthy_error(c))


# --- of counts ---


def auprc(counts: ScoreCounts) -> float:
    """Step-wise average precision; see :func:`average_precision`. It is not the trapezoidal area."""
    return float(average_precision(curve(counts)))


def best_dice(counts: ScoreCounts) -> Best:
    """The largest Dice over all thresholds, exactly, and the largest threshold that gives it.

    The threshold is chosen with the truth at hand, so the value is an upper bound (the paper's "best achievable"),
    not what a user gets. NaN without lesion voxels.
    """
    c = curve(counts)
    return Best(float(largest_dice(c)), best_threshold(c))


def threshold_at_fpr(counts: ScoreCounts, rate: float) -> float:
    """The lowest occurring score that at most the share ``rate`` of the negatives reaches.

    Where already the highest score is too common, the next number above it, which calls nothing lesion: infinity.
    NaN without a negative.
    """
    return threshold_at_rate(curve(counts), rate)


def prevalence(counts: ScoreCounts) -> float:
    """Share of lesion among all voxels: what AUPRC a random score gets. NaN without any voxel."""
    total = int(counts.positives.sum() + counts.negatives.sum())
    return float(counts.positives.sum() / total) if total else float("nan")


@dataclass(frozen=True)
class Metric:
    """A line of the registry: all that tables, pages and docs say of a metric.

    Attributes:
        reads: What the function takes: a :class:`Curve` over all thresholds; at a threshold, a :class:`Confusion`,
            :class:`LesionCounts` or :class:`SurfaceDistances`; or :class:`ErrorSums`, of methods that reconstruct.
        function: Those -> values, elementwise.
        label: Name for people.
        meaning: One or two sentences for a reader who does not know it.
        higher_is_better: Its direction.
        empty: What makes it NaN.
        policies: Keys of ``POLICIES`` under which it stands in the table.
        page: Those under which it stands on the page.
        by_case: Whether cases have a column of it: nowhere, in ``per_case.csv``, or on the page too.
        finds: The threshold it chose with the truth; ``None`` for metrics that choose none.
        choice: That choice in words.
    """

    reads: Literal["curve", "confusion", "lesions", "surfaces", "errors"]
    function: Callable[[Any], Values]
    label: str
    _: KW_ONLY
    meaning: str
    higher_is_better: bool = True
    empty: str = "no lesion voxel"
    policies: tuple[str, ...] = tuple(POLICIES)
    page: tuple[str, ...] = ()
    by_case: Literal["nowhere", "file", "page"] = "file"
    finds: Callable[[Curve], float] | None = None
    choice: str = "best"

    @property
    def cut(self) -> bool:
        """Whether it is taken at a threshold."""
        return self.reads in ("confusion", "lesions", "surfaces")


_BOTH, _ALL_ONLY = (POOLED, "per_case_mean"), (POOLED,)
_NO_OTHER, _NO_SURFACE = "no lesion voxel, or no other", "no lesion, or nothing called"

METRICS = {
    "auprc": Metric(
        "curve", average_precision, "AUPRC", page=_BOTH, by_case="page", meaning="Area under the precision-recall "
        "curve, step-wise (average precision). A random score reaches the prevalence."),
    "auprc_trapezoid": Metric(
        "curve", trapezoid_precision, "AUPRC (trapezoid)", meaning="Trapezoidal area under precision over recall, from "
        "(0, 1): optimistic where scores tie or are few."),
    "auroc": Metric(
        "curve", area_under_roc, "AUROC", empty=_NO_OTHER, page=_ALL_ONLY, by_case="page", meaning="Area under the ROC "
        "curve: the chance that a lesion voxel scores higher than another, ties counting half. It is lenient where "
        "lesions are rare."),
    "best_dice": Metric(
        "curve", largest_dice, "best Dice", page=_BOTH, by_case="page", finds=best_threshold, meaning="The highest "
        "Dice that one threshold reaches. The threshold is an oracle: it is chosen with the test labels and cannot be "
        "known in use, so this is an upper bound and not a performance."),
    "best_iou": Metric(
        "curve", largest_iou, "best IoU", page=_ALL_ONLY, finds=best_threshold, meaning="Intersection over union at "
        "the threshold of the best Dice: an upper bound too."),
    "greedy_dice": Metric(
        "curve", lambda c: greedy_search(c).value, "greedy Dice", page=_ALL_ONLY,
        finds=lambda c: float(greedy_search(c).threshold), meaning="The best Dice as the field's most "
        "used code searches it, for comparison with published numbers; it can miss the best."),
    **{
        f"sensitivity_at_fpr_{percent}": Metric(
            "curve", partial(recall_at_rate, rate=percent / 100), f"sensitivity at {percent} % FPR", empty=_NO_OTHER,
            page=_ALL_ONLY, finds=partial(threshold_at_rate, rate=percent / 100), choice=f"{percent} % FPR",
            meaning=f"Share of the lesion found when at most {percent} % of the other voxels are called lesion.")
        for percent in (1, 2, 5)
    },
    "dice": Metric(
        "confusion", dice_of, "Dice", page=_BOTH, by_case="page", meaning="Twice the overlap over what is lesion and "
        "what is called: 2 TP / (2 TP + FP + FN)."),
    "precision": Metric(
        "confusion", precision_of, "precision", by_case="nowhere",
        meaning="TP / (TP + FP), 0 where nothing is called."),
    "recall": Metric("confusion", recall_of, "recall", by_case="nowhere", meaning="TP / (TP + FN)."),
    "fpr": Metric(
        "confusion", rate_of, "FPR", higher_is_better=False, empty="no voxel that is no lesion", by_case="nowhere",
        meaning="FP / (FP + TN)."),
    "lesion_sensitivity": Metric(
        "lesions", lesions_found, "lesions found", empty="no lesion", policies=_ALL_ONLY, page=_ALL_ONLY,
        meaning="Share of the lesions that a called component touches."),
    "lesion_precision": Metric(
        "lesions", true_calls, "true components", empty="no call", policies=_ALL_ONLY, page=_ALL_ONLY,
        meaning="Share of the called components that touch a lesion."),
    "false_positives_per_scan": Metric(
        "lesions", lambda c: ratio(c.components_false, c.scans), "false alarms", higher_is_better=False, empty="never",
        policies=_ALL_ONLY, page=_ALL_ONLY, by_case="nowhere",
        meaning="Called components a scan that touch no lesion."),
    "lesion_f1": Metric(
        "lesions", lesion_f1, "lesion F1", empty="no lesion", policies=PER_CASE, by_case="page",
        meaning="Harmonic mean of lesions found and true components."),
    "hd95_mm": Metric(
        "surfaces", lambda c: c.hd95_mm, "HD95 in mm", higher_is_better=False, empty=_NO_SURFACE, policies=PER_CASE,
        by_case="page", meaning="Larger of the two directed 95 % percentiles of the distances between the surfaces."),
    "assd_mm": Metric(
        "surfaces", lambda c: c.assd_mm, "ASSD in mm", higher_is_better=False, empty=_NO_SURFACE, policies=PER_CASE,
        meaning="Mean distance between the surfaces, over the voxels of both."),
    "l1_healthy": Metric(
        "errors", healthy_error, "L1 healthy", higher_is_better=False, empty="no healthy voxel", policies=_ALL_ONLY,
        page=_ALL_ONLY, by_case="page",
        meaning="Mean absolute reconstruction error in healthy brain; intensities run from 0 to 1."),
    "residual_ratio": Metric(
        "errors", residual_ratio, "residual ratio", empty="no lesion voxel in the brain, or no error outside",
        policies=_ALL_ONLY, page=_ALL_ONLY, by_case="page",
        meaning="Mean reconstruction error within lesions over that in healthy brain; 1 means blind."),
}  # fmt: skip
"""Name -> metric. Those at a threshold stand in tables with its rule, ``dice_at_validation``: see :func:`name_at`."""

CALL_COLUMNS = ("lesions", "lesions_found", "components", "components_true", "components_false")
"""Columns of a case that count its lesions and calls at a threshold."""


def name_at(metric: str, rule: str) -> str:
    """Name of a metric at a threshold."""
    return f"{metric}_at_{rule}"


def metrics_reading(what: str) -> dict[str, Metric]:
    """The metrics of one kind."""
    return {name: metric for name, metric in METRICS.items() if metric.reads == what}


def _largest(values: Values) -> Values:
    """Maximum over the last axis, NaN where that is empty or all NaN."""
    if not values.shape[-1]:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(values.max(axis=-1))
