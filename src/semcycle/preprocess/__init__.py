"""Steps from a scan to working slices: decide, apply, record, invert."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.preprocess.pipeline import Prepared, PreprocessSettings, preprocess

_LAZY = {
    "Prepared": "pipeline",
    "PreprocessSettings": "pipeline",
    "preprocess": "pipeline",
}
__all__ = [
    "Prepared",
    "PreprocessSettings",
    "preprocess",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
