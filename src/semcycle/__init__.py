"""semcycle: unsupervised anomaly segmentation for brain MRI by image-semantic cycle translation.

``semcycle.predict(scan)`` finds anomalies in a T2 scan with the bundled model; see
:func:`semcycle.prediction.predict.predict`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.prediction.predict import predict
    from semcycle.prediction.prediction import Prediction

_LAZY = {"predict": "semcycle.prediction.predict", "Prediction": "semcycle.prediction.prediction"}
__all__ = ["Prediction", "__version__", "predict"]


def __getattr__(name: str) -> Any:
    """Load torch only when it is needed: ``semcycle info`` and ``--help`` shall answer at once."""
    if name == "__version__":
        return version("semcycle")
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    msg = f"module 'semcycle' has no attribute {name!r}"
    raise AttributeError(msg)
