"""Resolution: what counting in 16 bits can have cost, proved from the counts themselves.

Voxels that share a code could be ordered in any way if their scores were known better. The bounds are the extreme values over
all those orders, so what sorting the scores exactly would give lies between them, whatever the scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semcycle.scoring.metrics.counts import ScoreCounts


class Bounds(NamedTuple):
    """The exactly sorted value is at least ``low`` and at most ``high``."""

    low: float
    high: float


def bounds(counts: ScoreCounts) -> dict[str, Bounds]:
    """Bounds of ``auprc``, ``auroc`` and ``best_dice``; NaN where the metric is.

    With p lesion and n other voxels in a group that shares a code, TP and C voxels of lesion and of any kind above it, and k
    counting the group's lesion voxels from the top, a lesion voxel's precision lies between (TP + 1) / (C + n + 1), all others
    first, and (TP + k) / (C + k), no other first; and Dice reaches at most 2 (TP + p) / (C + p + P).
    """
    used = counts.codes[::-1]
    p, n = (voxels[::-1].astype(np.float64) for voxels in counts.occurring)
    total, others = p.sum(), n.sum()
    if not total:
        return dict.fromkeys(("auprc", "auroc", "best_dice"), Bounds(np.nan, np.nan))
    hits, called = np.cumsum(p), np.cumsum(p + n)
    open_ = ~counts.code.exact()[used] & (p + n > 1)
    hits_before, called_before = hits - p, called - p - n
    tied = hits / called
    first = np.where(open_ & (p > 0), hits / np.maximum(called_before + p, 1), tied)
    last = np.where(open_, (hits_before + 1) / (called_before + n + 1), tied)
    dice = (2 * hits / (called + total)).max()
    dice_high = np.where(open_, 2 * hits / (called_before + p + total), 2 * hits / (called + total)).max()
    ties = np.where(open_, p * n / 2, 0).sum()
    area = (p * (others - np.cumsum(n) + n / 2)).sum()
    scale = total * others if others else np.nan
    return {
        "auprc": Bounds(float((p * np.minimum(last, tied)).sum() / total), float((p * first).sum() / total)),
        "auroc": Bounds(float((area - ties) / scale), float((area + ties) / scale)),
        "best_dice": Bounds(float(dice), float(max(dice, dice_high))),
    }
