"""Thresholds with provenance: where a score is cut into lesion and healthy, and who chose the place.

A threshold is honest when it comes from other subjects than those it is judged on. One that was found on the test cases,
with their truth or only with their healthy voxels, is an oracle and says so in every row that uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.metrics import best_dice, threshold_at_fpr
from semcycle.training.calibration import RATES, Threshold


def oracle_thresholds(counts: ScoreCounts, cases: int, rates: Sequence[float] = RATES) -> list[Threshold]:
    """The thresholds that only somebody with the test set can know: best Dice, and fixed FPR on its healthy voxels.

    Args:
        counts: Pooled over the test cases.
        cases: How many they are.
        rates: False-positive rates in (0, 1).
    """
    found = [Threshold("oracle", best_dice(counts).threshold, f"oracle: best pooled Dice on these {cases} test cases")]
    for rate in rates:
        source = f"oracle: {100 * rate:g} % FPR on the healthy voxels of these {cases} test cases"
        found.append(Threshold(f"fpr_{100 * rate:g}", threshold_at_fpr(counts, rate), source))
    return found


def validation_threshold(counts: ScoreCounts, cases: Sequence[str], data: str) -> Threshold:
    """The threshold of the best pooled Dice on validation cases.

    Args:
        counts: Pooled over the validation cases.
        cases: Their names.
        data: Where they lie, in words: a store, a folder.

    Raises:
        ScoringError: They show no lesion.
    """
    best = best_dice(counts)
    if np.isnan(best.threshold):
        msg = f"{data}: expected a lesion in the validation cases, got none in {_name(cases)}; name others"
        raise ScoringError(msg)
    return Threshold("validation", best.threshold, f"validation: best pooled Dice on {_name(cases)} of {data}")


def healthy_thresholds(
    counts: ScoreCounts, cases: Sequence[str], data: str, rates: Sequence[float] = RATES
) -> list[Threshold]:
    """The thresholds that a given share of healthy voxels passes.

    Args:
        counts: Pooled over healthy data; only its negatives count.
        cases: Their names.
        data: Where they lie, in words.
        rates: False-positive rates in (0, 1).

    Raises:
        ScoringError: There is no healthy voxel.
    """
    if not counts.negatives.any():
        msg = f"{data}: expected healthy voxels to set a threshold on, got none in {_name(cases)}; name others"
        raise ScoringError(msg)
    return [
        Threshold(
            f"healthy_{100 * rate:g}",
            threshold_at_fpr(counts, rate),
            f"healthy: {100 * rate:g} % FPR on {_name(cases)} of {data}",
        )
        for rate in rates
    ]


def _name(cases: Sequence[str]) -> str:
    """How many cases, and which, if they are few."""
    listed = ", ".join(cases[:3]) + (", ..." if len(cases) > 3 else "")
    return f"{len(cases)} case{'s' * (len(cases) != 1)} ({listed})"
