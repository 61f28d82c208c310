"""SliceSet: the training slices of a store in one block, so that a batch is one indexing operation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from semcycle.errors import StoreError
from semcycle.store import CaseSlices, SliceStore


class SliceSettings(BaseModel):
    """Which slices train (ambiguity A15)."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    lesions: Literal["drop", "mask"] = "drop"
    """``drop``: only slices without a lesion voxel, as in the paper. ``mask``: all slices, the losses
    leaving out the lesions and a margin around them; for small collections, whose lesion-free slices lie low or
    high in the head and never show the ventricles."""
    lesion_margin: int = Field(3, ge=0)
    """Pixels around a lesion that ``mask`` leaves out as well."""
    min_brain: float = Field(0.01, ge=0, lt=1)
    """Share of a slice's pixels that must be brain."""
    leave_out_flagged: bool = False
    """Leave out cases whose tissue maps the store flags as implausible."""


class SliceSet(NamedTuple):
    """Training slices as contiguous arrays (memory-mapped when opened from a file).

    Attributes:
        image: ``(N, 1, H, W)`` float16 in [0, 1].
        brain: ``(N, 1, H, W)`` uint8, 0 or 1.
        valid: ``(N, 1, H, W)`` uint8, 1 where losses count.
        tissue: ``(N, 3, H, W)`` uint8, probability * 255, or ``None``.
    """

    image: NDArray[np.float16]
    brain: NDArray[np.uint8]
    valid: NDArray[np.uint8]
    tissue: NDArray[np.uint8] | None

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.image)


def used_cases(store: SliceStore, case_ids: Sequence[str], settings: SliceSettings) -> list[str]:
    """The training cases that the settings leave, sorted."""
    flagged = {case for case in case_ids if settings.leave_out_flagged and store.summary(case)["flags"]}
    return sorted(set(case_ids) - flagged)


def pack_slices(store: SliceStore, case_ids: Sequence[str], settings: SliceSettings, folder: Path) -> SliceSet:
    """Copy the chosen slices of many case files into one block on disk and map it into memory.

    Args:
        store: Where they come from.
        case_ids: Training cases.
        settings: Which slices.
        folder: For the block (``image.npy``, ...); what is there is replaced.

    Returns:
        The mapped block; only pages in use occupy memory.

    Raises:
        StoreError: No slice is left.
    """
    cases = [store.load(case) for case in used_cases(store, case_ids, settings)]
    chosen = [_choose(case, settings) for case in cases]
    total = sum(map(len, chosen))
    if not total:
        msg = (
            f"{store.folder}: expected training slices, got none of {len(case_ids)} cases (lesions: {settings.lesions}, "
            f"min_brain {settings.min_brain:g}, leave_out_flagged {settings.leave_out_flagged}); relax `slices` in the recipe"
        )
        raise StoreError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    size = cases[0].image.shape[1:]
    with_tissue = all(case.tissue is not None for case in cases)
    made: dict[str, NDArray[Any]] = {
        name: _new_block(folder, name, (total, 1, *size), dtype) for name, dtype in _FIELDS.items()
    }
    if with_tissue:
        made["tissue"] = _new_block(folder, "tissue", (total, 3, *size), np.uint8)
    start = 0
    for case, picked in zip(cases, chosen, strict=True):
        part = slice(start, start + len(picked))
        made["image"][part, 0] = case.image[picked]
        made["brain"][part, 0] = case.brain[picked]
        made["valid"][part, 0] = ~_grow(case.lesion[picked] > 0, settings.lesion_margin)
        if case.tissue is not None and with_tissue:
            made["tissue"][part] = case.tissue[picked]
        start += len(picked)
    return SliceSet(made["image"], made["brain"], made["valid"], made.get("tissue"))


_FIELDS = {"image": np.float16, "brain": np.uint8, "valid": np.uint8}


def _new_block(folder: Path, name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)


def _choose(case: CaseSlices, settings: SliceSettings) -> NDArray[np.intp]:
    """Indices of a case's slices that train."""
    wanted = case.brain.mean(axis=(1, 2)) >= settings.min_brain
    if settings.lesions == "drop":
        wanted &= case.lesion_voxels == 0
    return np.flatnonzero(wanted)


def _grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Widen a mask ``(S, H, W)`` within its slices by a square of ``pixels`` on every side."""
    from scipy import ndimage

    return np.asarray(ndimage.maximum_filter(mask, size=(1, 2 * pixels + 1, 2 * pixels + 1)))
