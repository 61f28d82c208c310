"""How much the reporting policy matters: one synthetic set of scores reported in nine ways.

    python benchmarks/policies.py

20 subjects of 30 slices of 1,500 voxels. A subject has a lesion in a run of 4 to 20 slices, small at its ends and
largest (40 to 300 voxels) in the middle. Healthy voxels score exp(N(0, 1)), lesion voxels exp(N(1.6, 1)); a subject's
scores are all multiplied by its own exp(N(0, 0.6)), as another scanner would do. Seed 0. No model, no image: only the
ranking of voxels differs between subjects and slices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.metrics.counts import ScoreCounts, count_scores, pool
from semcycle.scoring.metrics.curve import confusion
from semcycle.scoring.metrics.metrics import auprc, best_dice, dice_of, prevalence, threshold_at_fpr

SUBJECTS, SLICES, VOXELS = 20, 30, 1500


def make_scores(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores in [0, 1] and truth, ``(subjects, slices, voxels)``."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((SUBJECTS, SLICES, VOXELS), bool)
    for subject in range(SUBJECTS):
        length = int(rng.integers(4, 21))
        start = int(rng.integers(0, SLICES - length + 1))
        largest = rng.integers(40, 301)
        for step in range(length):
            truth[subject, start + step, : int(np.ceil(largest * np.sin(np.pi * (step + 0.5) / length)))] = True
    logs = rng.normal(0, 1, truth.shape) + 1.6 * truth + rng.normal(0, 0.6, (SUBJECTS, 1, 1))
    return 1 / (1 + np.exp(-logs)), truth  # in [0, 1], ranked as before


def policies(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> dict[str, float]:
    """What is reported -> its value."""
    slices = [[_count(s, t) for s, t in zip(*pair, strict=True)] for pair in zip(scores, truth, strict=True)]
    subjects = [pool(one) for one in slices]
    bearing = [one for subject in slices for one in subject if _lesion(one)]
    largest = [max(subject, key=_lesion) for subject in slices]
    whole = pool(subjects)
    return {
        "AUPRC, all voxels of all slices pooled": auprc(whole),
        "AUPRC, mean over subjects": _mean(auprc, subjects),
        "AUPRC, pooled, slices with lesion only": auprc(pool(bearing)),
        "Dice at 1 % false positives on healthy voxels, pooled": float(
            dice_of(confusion(whole, threshold_at_fpr(whole, 0.01)))
        ),
        "Dice at 5 %, pooled": float(dice_of(confusion(whole, threshold_at_fpr(whole, 0.05)))),
        "best Dice, one threshold chosen on the test cases, pooled": best_dice(whole).value,
        "best Dice, each subject its own threshold, mean": _mean(_best, subjects),
        "best Dice, each slice its own threshold, mean": _mean(_best, bearing),
        "the same on the slice with the largest lesion only": _mean(_best, largest),
    }


def _count(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> ScoreCounts:
    return count_scores(scores, truth)


def _lesion(counts: ScoreCounts) -> int:
    return int(counts.occurring[0].sum())


def _best(counts: ScoreCounts) -> float:
    return best_dice(counts).value


def _mean(metric: Callable[[ScoreCounts], float], some: Sequence[ScoreCounts]) -> float:
    return float(np.mean([metric(one) for one in some]))


def markdown(values: dict[str, float]) -> str:
    """The table of the docs."""
    rows = [f"| {name} | {f'{value:.3f}'.removeprefix('0')} |" for name, value in values.items()]
    return "\n".join(["| what is reported | value |", "|---|---|", *rows])


if __name__ == "__main__":
    scores, truth = make_scores()
    print(markdown(policies(scores, truth)))
    print(f"\nprevalence: {prevalence(pool([_count(scores, truth)])):.3f}")
