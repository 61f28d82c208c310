"""Prediction: a scan -> anomaly map, mask, and the rest on its own grid."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.prediction.folder import PredictSettings, predict_files
    from semcycle.prediction.lesion_mask import Components
    from semcycle.prediction.postprocess import PostProcessing, find_preset, make_anomaly_map
    from semcycle.prediction.prediction import Prediction, predict_volume
    from semcycle.prediction.reconstruct import reconstruct_slices
    from semcycle.prediction.scans import find_scans

_LAZY = {
    "Components": "lesion_mask",
    "PostProcessing": "postprocess",
    "PredictSettings": "folder",
    "Prediction": "prediction",
    "find_preset": "postprocess",
    "find_scans": "scans",
    "make_anomaly_map": "postprocess",
    "predict_files": "folder",
    "predict_volume": "prediction",
    "reconstruct_slices": "reconstruct",
}
__all__ = [
    "Components",
    "PostProcessing",
    "PredictSettings",
    "Prediction",
    "find_preset",
    "find_scans",
    "make_anomaly_map",
    "predict_files",
    "predict_volume",
    "reconstruct_slices",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
