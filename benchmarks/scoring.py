"""Scoring 182 million voxels: semcycle's counts beside scikit-learn and torchmetrics, each in a process of its own.

    python benchmarks/scoring.py                       # 182,026,240 voxels of 101 cases: the test set of the paper
    python benchmarks/scoring.py --voxels 10000000     # a smaller run

Every contender gets the same synthetic float32 scores and truth, made case by case by the same generator. Timed is what
happens from the arrays in memory to the numbers: semcycle counts each case, adds the counts, takes AUPRC and best Dice
and resamples the cases 2,000 times; scikit-learn and torchmetrics take AUPRC (``average_precision_score``) and best
Dice (from
``precision_recall_curve``) once, without a single resample. Making the data and importing are not timed. Memory is the
peak of the whole process, interpreter, libraries and data included: the others need all voxels at once. One that would
not fit in memory is run on fewer voxels, and its row says on how many.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VOXELS = 101 * 110 * 128 * 128
CASES = 101
RESAMPLES = 2000
BYTES_PER_VOXEL = {"scikit-learn": 75, "torchmetrics exact": 75}
"""Of the peak, a little more than measured at 10 million voxels: decides whether a contender is tried at full size."""
THRESHOLDS = 100
"""Of the binned torchmetrics: it passes over all voxels for each."""
PATIENCE = {"torchmetrics binned": 2_000_000}
"""Voxels of a contender that would take a quarter of an hour at full size."""

Scored = tuple[NDArray[np.float32], NDArray[np.bool_]]
Found = dict[str, float]


def make_cases(voxels: int) -> Iterator[Scored]:
    """Scores in [0, 1] without ties to speak of, about 2 % lesion, other contrast and load in every case."""
    for number, size in enumerate(np.diff(np.linspace(0, voxels, CASES + 1).astype(int))):
        generator = np.random.default_rng(number)
        truth = generator.random(size, np.float32) < generator.uniform(0.005, 0.035)
        scores = generator.standard_exponential(size, np.float32) * np.float32(0.05)
        scores[truth] += generator.uniform(0.1, 0.7) * generator.random(int(truth.sum()), np.float32)
        yield np.minimum(scores, np.float32(1)), truth


def semcycle(voxels: int) -> Found:
    """Counts, AUPRC, best Dice, 2,000 resamples."""
    from semcycle.scoring.metrics.bootstrap import SubjectBootstrap
    from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
    from semcycle.scoring.metrics.metrics import METRICS, auprc, best_dice

    counts, counting = [], 0.0
    for scores, truth in make_cases(voxels):
        start = time.perf_counter()
        counts.append(count_scores(scores, truth))
        counting += time.perf_counter() - start
    start = time.perf_counter()
    pooled = sum(counts, ScoreCounts.empty())
    exact = {"auprc": auprc(pooled), "best_dice": best_dice(pooled).value}
    metrics = time.perf_counter() - start
    start = time.perf_counter()
    bootstrap = SubjectBootstrap([str(number) for number in range(CASES)], resamples=RESAMPLES)
    draws = bootstrap.pooled(counts, {name: METRICS[name] for name in exact}, exact)
    low, high = draws["auprc"].interval()[:2]
    draws["best_dice"].interval()
    resampling = time.perf_counter() - start
    parts = {"counting": counting, "metrics": metrics, "resampling": resampling}
    return exact | parts | {"seconds": sum(parts.values()), "low": low, "high": high}


def scikit_learn(voxels: int) -> Found:
    """AUPRC and best Dice, once."""
    from sklearn.metrics import average_precision_score, precision_recall_curve

    scores, truth = join(voxels)
    start = time.perf_counter()
    auprc = average_precision_score(truth, scores)
    middle = time.perf_counter()
    precision, recall, _ = precision_recall_curve(truth, scores)
    dice = float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max())
    end = time.perf_counter()
    return {
        "auprc": float(auprc),
        "best_dice": dice,
        "area": middle - start,
        "curve": end - middle,
        "seconds": end - start,
    }


def torchmetrics_exact(voxels: int) -> Found:
    """AUPRC and best Dice, once, from all scores."""
    scores, truth = join(voxels)
    return _torchmetrics(iter([(scores, truth)]), None)


def torchmetrics_binned(voxels: int) -> Found:
    """AUPRC and best Dice at a hundred thresholds, case by case."""
    return _torchmetrics(make_cases(voxels), THRESHOLDS)


def _torchmetrics(cases: Iterator[Scored], thresholds: int | None) -> Found:
    import torch
    from torchmetrics import MetricCollection
    from torchmetrics.classification import BinaryAveragePrecision, BinaryPrecisionRecallCurve

    kinds = (BinaryAveragePrecision, BinaryPrecisionRecallCurve)
    metrics = MetricCollection(
        [kind(thresholds=thresholds, validate_args=False) for kind in kinds]
    )  # one state for both
    seconds = 0.0
    for scores, truth in cases:
        start = time.perf_counter()
        metrics.update(torch.from_numpy(scores), torch.from_numpy(truth))
        seconds += time.perf_counter() - start
    del scores, truth
    start = time.perf_counter()
    found = metrics.compute()
    precision, recall, _ = found["BinaryPrecisionRecallCurve"]
    dice = float((2 * precision * recall / (precision + recall).clamp_min(1e-12)).nan_to_num().max())
    seconds += time.perf_counter() - start
    return {"auprc": float(found["BinaryAveragePrecision"]), "best_dice": dice, "seconds": seconds}


def join(voxels: int) -> Scored:
    """All cases in two arrays."""
    scores, truth = np.empty(voxels, np.float32), np.empty(voxels, bool)
    start = 0
    for some, lesion in make_cases(voxels):
        scores[start : start + len(some)], truth[start : start + len(some)] = some, lesion
        start += len(some)
    return scores, truth


CONTENDERS: dict[str, Callable[[int], Found]] = {
    "semcycle": semcycle,
    "scikit-learn": scikit_learn,
    "torchmetrics exact": torchmetrics_exact,
    "torchmetrics binned": torchmetrics_binned,
}


def measure(name: str, voxels: int, threads: int) -> Found:
    """Run one contender in a process of its own."""
    environment = os.environ | {f"{kind}_NUM_THREADS": str(threads) for kind in ("OMP", "MKL", "OPENBLAS")}
    words = [sys.executable, __file__, "--only", name, "--voxels", str(voxels)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-800:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def fitting(name: str, voxels: int, memory: float) -> int:
    """As many voxels as a contender has memory and we have patience for, at most those asked for."""
    needed = BYTES_PER_VOXEL.get(name, 0)
    room = voxels if needed * voxels <= memory else int(memory / needed // 1_000_000 * 1_000_000)
    return min(room, PATIENCE.get(name, voxels))


def available_memory() -> float:
    """Bytes that may be used now, leaving a tenth."""
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return 0.9 * 1024 * int(text.split("MemAvailable:")[1].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voxels", type=int, default=VOXELS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--skip", nargs="*", default=[], choices=[*CONTENDERS])
    parser.add_argument("--only", choices=[*CONTENDERS], help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.only:
        found = CONTENDERS[words.only](words.voxels)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found | {"megabytes": peak}))
        return
    rows = {}
    print(f"{'':20} {'voxels':>12} {'seconds':>9} {'peak MB':>8} {'AUPRC':>9} {'best Dice':>9}  ns a voxel")
    for name in CONTENDERS:
        if name in words.skip:
            continue
        voxels = fitting(name, words.voxels, available_memory())
        found = rows[name] = measure(name, voxels, words.threads) | {"voxels": voxels}
        print(
            f"{name:20} {voxels:12,} {found['seconds']:9.2f} {found['megabytes']:8.0f} {found['auprc']:9.6f} "
            f"{found['best_dice']:9.6f}  {1e9 * found['seconds'] / voxels:.1f}",
            flush=True,
        )
    ours = rows["semcycle"]
    print(
        f"\nsemcycle: counting {ours['counting']:.2f} s, AUPRC and best Dice {ours['metrics']:.3f} s, "
        f"{RESAMPLES} resamples of {CASES} cases {ours['resampling']:.2f} s; AUPRC interval {ours['low']:.4f} to "
        f"{ours['high']:.4f}"
    )
    for name, found in rows.items():
        if name == "semcycle":
            continue
        same = ours if found["voxels"] == ours["voxels"] else measure("semcycle", int(found["voxels"]), words.threads)
        print(
            f"{name}: {found['seconds'] / same['seconds']:.0f} times the time (without resampling "
            f"{found['seconds'] / (same['counting'] + same['metrics']):.0f}), "
            f"{found['megabytes'] / same['megabytes']:.0f} times "
            f"the memory; AUPRC differs by {abs(found['auprc'] - same['auprc']):.1e}, best Dice by "
            f"{abs(found['best_dice'] - same['best_dice']):.1e}, on {found['voxels']:,} voxels"
        )


if __name__ == "__main__":
    main()
