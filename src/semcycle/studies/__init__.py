"""Studies: whole experiments, from folders to tables and figures."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.studies.evaluating import run_evaluation
    from semcycle.studies.running import intensity_baseline, run_scoring, run_training

_LAZY = {
    "intensity_baseline": "running",
    "run_evaluation": "evaluating",
    "run_scoring": "running",
    "run_training": "running",
}
__all__ = [
    "intensity_baseline",
    "run_evaluation",
    "run_scoring",
    "run_training",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
