"""Scoring: maps and truth in, a table of scores out. What needs torch is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.scoring.calibrate import calibrate_model
    from semcycle.scoring.maps import score_maps
    from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
    from semcycle.scoring.metrics.lesions import ComponentRule
    from semcycle.scoring.metrics.metrics import auprc, best_dice, threshold_at_fpr
    from semcycle.scoring.pairing import pair_folders
    from semcycle.scoring.path_list import read_list
    from semcycle.scoring.runs import Contestant, score_runs
    from semcycle.scoring.table import ScoreTable
    from semcycle.scoring.thresholds import ThresholdData

_LAZY = {
    "ComponentRule": "metrics.lesions",
    "Contestant": "runs",
    "ScoreCounts": "metrics.counts",
    "ScoreTable": "table",
    "ThresholdData": "thresholds",
    "auprc": "metrics.metrics",
    "calibrate_model": "calibrate",
    "best_dice": "metrics.metrics",
    "count_scores": "metrics.counts",
    "pair_folders": "pairing",
    "read_list": "path_list",
    "score_maps": "maps",
    "score_runs": "runs",
    "threshold_at_fpr": "metrics.metrics",
}
__all__ = [
    "ComponentRule",
    "Contestant",
    "ScoreCounts",
    "ScoreTable",
    "ThresholdData",
    "auprc",
    "best_dice",
    "calibrate_model",
    "count_scores",
    "pair_folders",
    "read_list",
    "score_maps",
    "score_runs",
    "threshold_at_fpr",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
