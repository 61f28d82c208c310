"""What a visitor of the demo asks first: what each method found, what it missed, and its false alarms.

Every method is treated alike: its score is cut where 1 in 1,000 voxels of healthy phantoms pass that nobody trained on,
pieces below 0.1 ml are left out, and lesions of at least 0.1 ml, and of 1 % of the patient's, are counted one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from semcycle.cohorts.base import Case
from semcycle.prediction.lesion_mask import find_lesions as cut_mask
from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.scoring.metrics.lesions import ComponentRule, LesionCounts, find_calls, find_lesions, match_calls
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.volume import load_mask, load_volume

HEALTHY_SHARE = 0.001
"""Of the voxels of the healthy phantoms that reach the cut, whatever the method: about 1.5 ml of a brain."""
LEAST_ML = 0.1
"""Smaller pieces are no calls, and smaller lesions are nobody's business."""
SPECK = 0.01
"""Share of a patient's lesion: smaller pieces, such as those that the edge of a tumour of 60 ml sheds, do not count."""
RULE = ComponentRule(min_lesion_mm3=1000 * LEAST_ML, min_call_mm3=1000 * LEAST_ML)


@dataclass(frozen=True)
class PhantomGroups:
    """Phantoms that no method has seen.

    Attributes:
        healthy: They set the cut, and are the ones in which everything found is a false alarm.
        ill: With lesions.
    """

    healthy: Sequence[Case]
    ill: Sequence[Case]


def compare_methods(
    models: Mapping[str, Checkpoint], phantoms: PhantomGroups, progress: Callable[[str], None] = lambda name: None
) -> pd.DataFrame:
    """Count what each method finds at the same share of healthy voxels.

    Args:
        models: Name in the table -> model.
        phantoms: To predict.
        progress: Called with the name of every predicted phantom, for every model.

    Returns:
        A row a model: lesions ``found`` of ``lesions``, ``missed``, ``false alarms a scan`` in the ill and
        ``ml called in health``, and for each kind of lesion what of it was found, as ``2 of 2 tumour``.
    """
    rows = {name: _count(model, phantoms, progress) for name, model in models.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _count(model: Checkpoint, phantoms: PhantomGroups, progress: Callable[[str], None]) -> dict[str, float | int | str]:
    healthy = []
    for case in phantoms.healthy:
        healthy.append(_predict(model, case))
        progress(case.case_id)
    scores = np.concatenate([made.anomaly_native()[made.prepared.brain_native] for made in healthy])
    cut = float(np.nextafter(np.quantile(scores, 1 - HEALTHY_SHARE), np.float32(1)))
    threshold = Threshold("demo", cut, "1 in 1,000 voxels of healthy phantoms", min_ml=LEAST_ML)
    in_health = [_mask(made, threshold).sum() * made.volume.voxel_ml for made in healthy]
    kinds = dict[str, LesionCounts]()
    for case in phantoms.ill:
        made = _predict(model, case)
        truth = load_mask(case.lesion, made.volume, "lesion mask") if case.lesion else np.zeros(made.volume.shape, bool)
        least = max(RULE.min_lesion_mm3, SPECK * 1000 * float(truth.sum()) * made.volume.voxel_ml)
        rule = RULE.model_copy(update={"min_lesion_mm3": least})
        lesions = find_lesions(truth, made.volume.spacing, rule)
        counts = match_calls(find_calls(_mask(made, threshold), lesions), lesions)
        before = kinds.get(case.group, LesionCounts(0, 0, 0, 0, 0))
        kinds[case.group] = LesionCounts(*(one + other for one, other in zip(before, counts, strict=True)))
        progress(case.case_id)
    total = LesionCounts(*(sum(values) for values in zip(*kinds.values(), strict=True)))
    return {
        "found": int(total.lesions_found),
        "missed": int(total.lesions - total.lesions_found),
        "false alarms a scan": round(float(total.components_false / total.scans), 1),
        "ml called in a healthy brain": round(float(np.mean(in_health)), 1),
        **{kind: f"{int(counts.lesions_found)} of {int(counts.lesions)}" for kind, counts in kinds.items()},
    }


def _predict(model: Checkpoint, case: Case) -> Prediction:
    return predict_volume(model, load_volume(case.images["t2"]))


def _mask(made: Prediction, threshold: Threshold) -> np.ndarray:
    return cut_mask(made.anomaly_native(), made.prepared.brain_native, made.volume.spacing, threshold).labels > 0
