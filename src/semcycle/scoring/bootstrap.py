"""Intervals: how much a pooled score would vary with other subjects of the same kind.

Subjects are drawn with replacement and their counts added (percentile bootstrap; Efron and Tibshirani 1993). Voxels are no
independent samples, subjects are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.counts import BINS, ScoreCounts

GROUPED = 16
"""Neighbouring score codes that share a bin here: 4096 bins change a score by less than 1e-3."""
CHUNK = 100


def bootstrap_intervals(
    counts: Sequence[ScoreCounts], subjects: Sequence[str], *, resamples: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """95 % intervals of pooled AUPRC and best Dice.

    Args:
        counts: One a case.
        subjects: Of every case; the cases of one stay together.
        resamples: How many.
        seed: Same seed, same interval; methods scored on the same cases get the same draws.

    Returns:
        ``auprc`` and ``best_dice`` -> low, high; NaN with fewer than two subjects with a lesion.
    """
    names = sorted(set(subjects))
    parts = [
        sum((one for one, subject in zip(counts, subjects, strict=True) if subject == name), ScoreCounts.empty())
        for name in names
    ]
    if sum(bool(part.positives.any()) for part in parts) < 2:
        return {"auprc": (np.nan, np.nan), "best_dice": (np.nan, np.nan)}
    positives, negatives = (
        _falling(np.stack(rows)) for rows in zip(*((p.positives, p.negatives) for p in parts), strict=True)
    )
    used = (positives + negatives).any(axis=0)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples).astype(float)
    values = [
        _scores(chunk @ positives[:, used], chunk @ negatives[:, used])
        for chunk in np.split(weights, range(CHUNK, resamples, CHUNK))
    ]
    found = np.concatenate(values, axis=1)
    low, high = np.nanpercentile(found, [2.5, 97.5], axis=1)
    return {name: (float(low[row]), float(high[row])) for row, name in enumerate(("auprc", "best_dice"))}


def _falling(rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """``(N, 65536)`` counts to ``(N, 4096)``, from the highest score down."""
    return rows.reshape(len(rows), BINS // GROUPED, GROUPED).sum(axis=2)[:, ::-1].astype(float)


def _scores(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> NDArray[np.float64]:
    """AUPRC and best Dice ``(2, R)`` of ``(R, bins)`` counts; NaN for a draw without lesion."""
    hits, called = np.cumsum(positives, axis=1), np.cumsum(positives + negatives, axis=1)
    total = hits[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (positives / total * np.nan_to_num(hits / called)).sum(axis=1)
        dice = (2 * hits / (called + total)).max(axis=1)
    empty = total[:, 0] == 0
    return np.where(empty, np.nan, np.stack([area, dice]))
