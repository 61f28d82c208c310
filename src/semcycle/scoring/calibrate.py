"""Calibrate a model: the scores that 1, 2 and 5 % of healthy voxels pass, over the brain and in each tissue."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from scipy import ndimage

from semcycle.errors import ScoringError, SplitError
from semcycle.prediction.postprocess import PRESETS, make_anomaly_map
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.metrics import threshold_at_fpr
from semcycle.store.slice_store import SliceStore, voxel_size
from semcycle.training.calibration import RATES, Calibration, HealthyThreshold
from semcycle.training.checkpoint import Checkpoint

TISSUES = ("gm", "wm", "csf")
MARGIN = 5
"""Pixels around a lesion that do not count as healthy: oedema and pressure reach beyond what the expert drew."""


def calibrate(
    checkpoint: Checkpoint,
    store: SliceStore,
    cases: Sequence[str],
    preset: str,
    source: str,
    progress: Callable[[str], None] = lambda case_id: None,
) -> Calibration:
    """Find a model's thresholds on healthy voxels of subjects it has not seen.

    Args:
        checkpoint: A trained run.
        store: Slices prepared as the model's; lesions and a margin around them are left out.
        cases: Of the store.
        preset: What the model is to be used with; thresholds are found for every preset.
        source: The data in words.
        progress: Called with every finished case.

    Raises:
        SplitError: The model has seen a subject.
        ScoringError: No healthy voxel, or no such preset.
    """
    seen = sorted({store.subject(case) for case in cases} & set(checkpoint.record["subjects"]))
    if seen:
        msg = f"{checkpoint.folder}: expected subjects the model has not seen, got {', '.join(seen[:5])}; name others"
        raise SplitError(msg)
    if preset not in PRESETS:
        msg = f"expected a preset of {', '.join(PRESETS)}, got {preset!r}"
        raise ScoringError(msg)
    tallies: dict[tuple[str, str], ScoreCounts] = defaultdict(ScoreCounts.empty)
    for case_id in cases:
        case = store.load(case_id)
        x, brain = case.image.astype(np.float32), case.brain > 0
        near = ndimage.maximum_filter(case.lesion > 0, size=(1, 2 * MARGIN + 1, 2 * MARGIN + 1))
        healthy = brain & ~near
        made = reconstruct_slices(checkpoint.method, x, brain)
        regions = {"brain": healthy}
        if made.tissue is not None:
            called = made.tissue.argmax(axis=1)
            regions |= {name: healthy & (called == index) for index, name in enumerate(TISSUES)}
        for name in PRESETS:
            scores = make_anomaly_map(x, made, brain, name, voxel_size(case.record))
            for region, inside in regions.items():
                tallies[name, region] += count_scores(scores, np.zeros_like(brain), inside)
        progress(case_id)
    if not cases or not tallies[preset, "brain"].negatives.any():
        msg = f"{store.folder}: expected healthy voxels, got none in {len(cases)} cases; name others"
        raise ScoringError(msg)
    thresholds = {name: [_threshold(tallies, name, rate) for rate in RATES] for name in PRESETS}
    subjects = sorted({store.subject(case) for case in cases})
    return Calibration(preset=preset, source=source, cases=list(cases), subjects=subjects, thresholds=thresholds)


def _threshold(tallies: dict[tuple[str, str], ScoreCounts], preset: str, rate: float) -> HealthyThreshold:
    found = {
        # infinite where too many voxels share the highest score: then 1, which nothing healthy reached
        region: round(min(threshold_at_fpr(counts, rate), 1.0), 6)
        for (name, region), counts in tallies.items()
        if name == preset and counts.negatives.any()
    }
    tissues = {name: found.get(name) for name in TISSUES}
    return HealthyThreshold(rate=rate, value=found["brain"], **tissues)
