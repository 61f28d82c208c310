"""Scores and masks of real tumours with the networks on another engine, beside those of torch.

    python benchmarks/engine_accuracy.py BRATS [--engine bfloat16] [--pattern 'Brats18_2013_*']

BRATS is a folder with cases of BraTS 2018 below it; those of the pattern are compared, the five validation cases of the
bundled model without. All is on the scans' own voxels in the brain; a lesion is all that the experts labelled.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores, pool
from semcycle.scoring.metrics.metrics import auprc
from semcycle.training.calibration import find_threshold
from semcycle.training.engines import BFLOAT16, use_engine
from semcycle.training.models import open_model
from semcycle.training.shipped import DEFAULT
from semcycle.types import VoxelMask
from semcycle.volume import load_mask, load_volume

PATTERN = "Brats18_2013_*"


@dataclass(frozen=True)
class Comparison:
    """One case on two engines, torch first.

    Attributes:
        case: Its name.
        mean: Mean difference of the scores in the brain.
        most: 99.9th percentile, and the largest.
        counts: For AUPRC.
        dice: Of the masks with the experts' outline.
        agreement: Dice of the two masks.
    """

    case: str
    mean: float
    most: tuple[float, float]
    counts: tuple[ScoreCounts, ScoreCounts]
    dice: tuple[float, float]
    agreement: float


def compare_cases(brats: Path, engine: str = BFLOAT16, pattern: str = PATTERN) -> list[Comparison]:
    """Predict all cases on both engines."""
    plain = open_model(DEFAULT)
    other = use_engine(plain, engine)
    cut = find_threshold("auto", plain.calibration, plain.preset, DEFAULT)
    comparisons = []
    for scan in sorted(brats.rglob(f"{pattern}/*_t2.nii.gz")):
        volume = load_volume(scan)
        truth = load_mask(scan.with_name(scan.name.replace("_t2.", "_seg.")), volume, "lesion mask")
        ours, theirs = (predict_volume(model, volume, threshold=cut) for model in (plain, other))
        comparisons.append(_compare(scan.parent.name, ours, theirs, truth))
    return comparisons


def _compare(case: str, ours: Prediction, theirs: Prediction, truth: VoxelMask) -> Comparison:
    brain = ours.prepared.brain_native
    scores = [made.anomaly_native()[brain] for made in (ours, theirs)]
    difference = np.abs(scores[0] - scores[1])
    counts = [count_scores(part, truth[brain]) for part in scores]
    masks = [made.mask_native() for made in (ours, theirs)]
    return Comparison(
        case,
        float(difference.mean()),
        (float(np.percentile(difference, 99.9)), float(difference.max())),
        (counts[0], counts[1]),
        (_dice(masks[0], truth), _dice(masks[1], truth)),
        _dice(*masks),
    )


def _dice(a: VoxelMask, b: VoxelMask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def as_table(comparisons: list[Comparison], engine: str) -> list[list[str]]:
    """Rows of text, the head first, the pooled AUPRC last."""
    head = ["case", "mean difference", "99.9th percentile", "largest", "AUPRC torch", engine]
    rows = [[*head, "Dice torch", engine, "Dice of the masks"]]
    for one in comparisons:
        areas = [f"{auprc(counts):.4f}" for counts in one.counts]
        rows.append([one.case, f"{one.mean:.5f}", *(f"{value:.3f}" for value in one.most), *areas])
        rows[-1] += [*(f"{value:.4f}" for value in one.dice), f"{one.agreement:.4f}"]
    areas = [f"{auprc(pool([one.counts[index] for one in comparisons])):.4f}" for index in (0, 1)]
    return [*rows, ["pooled", "", "", "", *areas, "", "", ""]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("brats", type=Path)
    parser.add_argument("--engine", default=BFLOAT16)
    parser.add_argument("--pattern", default=PATTERN)
    words = parser.parse_args()
    for row in as_table(compare_cases(words.brats, words.engine, words.pattern), words.engine):
        print(" | ".join(row), flush=True)


if __name__ == "__main__":
    main()
