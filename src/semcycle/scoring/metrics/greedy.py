"""The reference code's search for the best Dice, for comparison with published numbers only.

As the published code of [baur2021] computes it, described in words and written anew. A voxel is lesion strictly above
the threshold; thresholds 0, 0.1, ... 0.9 are tried; at the first fall of the Dice the two last intervals are searched
again ten times finer, and so on for nine levels. Its traps: an optimum above 0.9 is not found, nor one behind the first
dip (up to 0.7 below the optimum in constructed cases), nor any for scores outside [0, 1). Exact: ``metrics.best_dice``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from semcycle.scoring.metrics.curve import Curve, Values

_LEVELS = 9
_SLACK = 0.499 / 65535
"""Almost half a code: a score in [0, 1] that was coded a little above a threshold it equals does not pass it."""


class GreedyBest(NamedTuple):
    """Best Dice of every draw, and the smallest threshold with it, above which a voxel is lesion."""

    value: Values
    threshold: Values


def greedy_search(c: Curve) -> GreedyBest:
    """Search all draws of a curve at once.

    Args:
        c: With leading axes of any shape.

    Returns:
        Arrays of those axes; NaN without lesion.
    """
    shape = c.true_positives.shape[:-1]
    none = np.zeros((*shape, 1))
    dice = np.concatenate([none, np.nan_to_num(c.dice)], axis=-1).reshape(-1, len(c.thresholds) + 1)
    rising = c.thresholds[::-1]
    best, where = np.full(len(dice), -1.0), np.full(len(dice), np.inf)
    going = np.arange(len(dice))
    starts = np.zeros(len(dice))
    for level in range(1, _LEVELS + 1):
        thresholds = starts[:, None] + np.arange(10 if level == 1 else 20) * 10.0**-level
        above = len(rising) - np.searchsorted(rising, thresholds + _SLACK, side="right")
        scores = np.take_along_axis(dice[going], above, axis=1)
        _keep_better(best, where, going, scores, thresholds)
        falls = scores[:, 2:] <= scores[:, 1:-1]
        falling = falls.any(axis=1)
        first = falls.argmax(axis=1)  # of two intervals that end in the first fall: place i - 2
        starts, going = thresholds[np.arange(len(going)), first][falling], going[falling]
        if not len(going):
            break
    known = np.asarray(c.positives) > 0
    return GreedyBest(np.where(known, best.reshape(shape), np.nan), np.where(known, where.reshape(shape), np.nan))


def _keep_better(best: Values, where: Values, going: Any, scores: Values, thresholds: Values) -> None:
    """Take over what is better, or as good at a smaller threshold."""
    top = scores.max(axis=1)
    place = np.where(scores == top[:, None], thresholds, np.inf).min(axis=1)
    better = (top > best[going]) | ((top == best[going]) & (place < where[going]))
    best[going[better]], where[going[better]] = top[better], place[better]
