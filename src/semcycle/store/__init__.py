"""Store: cases -> slices on disk, split, quality, varied copies."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semcycle.store.augment import AugmentationSettings, augment_stores
    from semcycle.store.prepare import prepare_store
    from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore
    from semcycle.store.split import Split, load_split, make_split, read_split

_LAZY = {
    "AugmentationSettings": "augment",
    "CaseRecord": "slice_store",
    "CaseSlices": "slice_store",
    "SliceStore": "slice_store",
    "Split": "split",
    "augment_stores": "augment",
    "load_split": "split",
    "make_split": "split",
    "prepare_store": "prepare",
    "read_split": "split",
}
__all__ = [
    "AugmentationSettings",
    "CaseRecord",
    "CaseSlices",
    "SliceStore",
    "Split",
    "augment_stores",
    "load_split",
    "make_split",
    "prepare_store",
    "read_split",
]


def __getattr__(name: str) -> Any:
    """Import what stands behind a name when it is asked for."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
