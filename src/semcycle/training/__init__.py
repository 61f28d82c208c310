"""Training: recipe in, run folder out. What needs torch is loaded when it is asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.training.log import Epoch, Observer
    from semcycle.training.loop import Hardware, train

_LAZY = {"Epoch": "log", "Hardware": "loop", "Observer": "log", "train": "loop"}
__all__ = ["Epoch", "Hardware", "Observer", "train"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
