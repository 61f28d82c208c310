"""Training: recipe in, run folder out. What needs torch is loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.training.calibration import Calibration, Threshold
    from semcycle.training.checkpoint import Checkpoint, export_checkpoint, load_checkpoint
    from semcycle.training.hardware import Hardware
    from semcycle.training.log import Epoch, Observer
    from semcycle.training.loop import train
    from semcycle.training.recipe import Recipe, load_recipe

_LAZY = {
    "Calibration": "calibration",
    "Checkpoint": "checkpoint",
    "Epoch": "log",
    "Hardware": "hardware",
    "Observer": "log",
    "Recipe": "recipe",
    "Threshold": "calibration",
    "export_checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "load_recipe": "recipe",
    "train": "loop",
}
__all__ = [
    "Calibration",
    "Checkpoint",
    "Epoch",
    "Hardware",
    "Observer",
    "Recipe",
    "Threshold",
    "export_checkpoint",
    "load_checkpoint",
    "load_recipe",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
