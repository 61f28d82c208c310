"""What counting in 16 bits can have cost, proved from the counts themselves, and a shorter way to a fitted code.

Voxels that share a code could be ordered in any way if their scores were known better. The bounds are the extreme
values over all those orders, so what sorting the scores exactly would give lies between them, whatever the scores.
"""

import numpy as np

from semcycle.scoring.metrics.codes import BINS, CodeFitter, ExactCode, FloatCode

ZERO_BUCKET = 0x8000


def fit_code(arrays):
    """The code of arrays of scores."""
    fitter = CodeFitter()
    for scores in arrays:
        fitter.add(scores)
    return fitter.fit()


def single_valued(code):
    """``(65536,)``: codes that only one float32 value has."""
    exact = np.full(BINS, isinstance(code, ExactCode))
    if isinstance(code, FloatCode):
        full = (np.array(code.sizes) == BINS) | (np.array(code.buckets) == ZERO_BUCKET)
        exact[: sum(code.sizes)] = np.repeat(full, code.sizes)
    return exact


def bounds(counts):
    """Lowest and highest ``auprc``, ``auroc`` and ``best_dice`` that exact sorting could give.

    With p lesion and n other voxels in a group that shares a code, TP and C voxels of lesion and of any kind above it,
    and k counting the group's lesion voxels from the top, a lesion voxel's precision lies between (TP + 1) / (C + n +
    1), all others first, and (TP + k) / (C + k), no other first; and Dice reaches at most 2 (TP + p) / (C + p + P).
    """
    used = counts.codes[::-1]
    p, n = (voxels[::-1].astype(np.float64) for voxels in counts.occurring)
    total, others = p.sum(), n.sum()
    hits, called = np.cumsum(p), np.cumsum(p + n)
    mixed = ~single_valued(counts.code)[used] & (p + n > 1)
    hits_before, called_before = hits - p, called - p - n
    tied = hits / called
    first = np.where(mixed & (p > 0), hits / np.maximum(called_before + p, 1), tied)
    last = np.where(mixed, (hits_before + 1) / (called_before + n + 1), tied)
    dice = (2 * hits / (called + total)).max()
    dice_high = np.where(mixed, 2 * hits / (called_before + p + total), 2 * hits / (called + total)).max()
    ties = np.where(mixed, p * n / 2, 0).sum()
    area = (p * (others - np.cumsum(n) + n / 2)).sum()
    scale = total * others
    return {
        "auprc": ((p * np.minimum(last, tied)).sum() / total, (p * first).sum() / total),
        "auroc": ((area - ties) / scale, (area + ties) / scale),
        "best_dice": (dice, max(dice, dice_high)),
    }
