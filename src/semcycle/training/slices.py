"""Training slices of a store in one block: a batch is one indexing operation, in an order fixed by seed and epoch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from semcycle.config import Config
from semcycle.errors import StoreError
from semcycle.files import write_bytes
from semcycle.methods.base import Batch, Method
from semcycle.store.slice_store import OPTIONAL, CaseSlices, SliceStore

FREEZE_BATCH = 32
"""Slices at a time for networks that do not learn."""


class SliceSettings(Config):
    """Which slices train (ambiguity A15)."""

    lesions: Literal["drop", "mask"] = "drop"
    """``drop``: only slices without a lesion voxel, as in the paper. ``mask``: all slices, the losses
    leaving out the lesions and a margin around them; for small collections, whose lesion-free slices lie low or
    high in the head and never show the ventricles."""
    lesion_margin: int = Field(3, ge=0, le=1000)
    """Pixels around a lesion that ``mask`` leaves out as well."""
    slice_margin: int = Field(0, ge=0, le=1000)
    """So many slices above and below one with a lesion are dropped as well by ``drop``."""
    min_brain: float = Field(0.01, ge=0, lt=1)
    """Share of a slice's pixels that must be brain."""
    leave_out_flagged: bool = False
    """Leave out cases whose tissue maps the store flags as implausible."""
    context: int = Field(0, ge=0, le=32)
    """Neighbouring slices on either side that come with every slice."""
    every: int = Field(1, ge=1, le=1000)
    """Of the slices that these settings leave of a case, every n-th: neighbours 1 mm apart hardly differ."""

    @model_serializer(mode="wrap")
    def _leave_out_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Newer than the first runs, so recorded where it is set: those keep their fingerprints."""
        return {name: value for name, value in dump(self).items() if name != "every" or value > 1}


class SliceSet(NamedTuple):
    """Training slices as contiguous arrays (memory-mapped when opened from a file).

    Attributes:
        image: ``(N, 1, H, W)`` float16 in [0, 1].
        brain: ``(N, 1, H, W)`` uint8, 0 or 1.
        valid: ``(N, 1, H, W)`` uint8, 1 where losses count.
        tissue: ``(N, 3, H, W)`` uint8, probability * 255, or ``None``.
        anomaly: ``(N, 1, H, W)`` uint8: 0 healthy, 1 drawn anomaly, 2 uncertain, or ``None``.
        height: ``(N, 1, 1, 1)`` float32, 0 at the foot of the brain, 1 at its top, or ``None``.
        neighbours: ``(N, 2 n)`` indices of the n slices below and the n above, within the case.
    """

    image: NDArray[np.float16]
    brain: NDArray[np.uint8]
    valid: NDArray[np.uint8]
    tissue: NDArray[np.uint8] | None
    anomaly: NDArray[np.uint8] | None = None
    height: NDArray[np.float32] | None = None
    neighbours: NDArray[np.intp] | None = None

    def __len__(self) -> int:
        """Number of slices."""
        return len(self.image)


def used_cases(store: SliceStore, case_ids: Sequence[str], settings: SliceSettings) -> list[str]:
    """The training cases that the settings leave, sorted."""
    flagged = {case for case in case_ids if settings.leave_out_flagged and store.summary(case)["flags"]}
    return sorted(set(case_ids) - flagged)


def count_slices(store: SliceStore, case_ids: Sequence[str], settings: SliceSettings) -> int:
    """Number of slices of these cases that train."""
    return sum(len(_choose(store.load(case), settings)) for case in used_cases(store, case_ids, settings))


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
            f"{store.folder}: expected training slices, got none of {len(case_ids)} cases (lesions: "
            f"{settings.lesions}, "
            f"min_brain {settings.min_brain:g}, leave_out_flagged {settings.leave_out_flagged}); relax `slices` in the "
            "recipe"
        )
        raise StoreError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    size = cases[0].image.shape[1:]
    optional = {name for name in OPTIONAL if all(getattr(case, name) is not None for case in cases)}
    arrays: dict[str, NDArray[Any]] = {
        name: _new_block(folder, name, (total, 1, *size), dtype) for name, dtype in _FIELDS.items()
    }
    if "tissue" in optional:
        arrays["tissue"] = _new_block(folder, "tissue", (total, 3, *size), np.uint8)
    if "anomaly" in optional:
        arrays["anomaly"] = _new_block(folder, "anomaly", (total, 1, *size), np.uint8)
    heights: list[NDArray[np.float32]] = []
    neighbours: list[NDArray[np.intp]] = []
    start = 0
    for case, picked in zip(cases, chosen, strict=True):
        part = slice(start, start + len(picked))
        arrays["image"][part, 0] = case.image[picked]
        arrays["brain"][part, 0] = case.brain[picked]
        arrays["valid"][part, 0] = ~_grow(case.abnormal[picked], settings.lesion_margin)
        if case.tissue is not None and "tissue" in optional:
            arrays["tissue"][part] = case.tissue[picked]
        if case.anomaly is not None and "anomaly" in optional:
            arrays["anomaly"][part, 0] = case.anomaly[picked]
        if case.height is not None and "height" in optional:
            heights.append(np.asarray(case.height[picked], np.float32))
        neighbours.append(neighbour_indices(len(picked), settings.context) + start)
        start += len(picked)
    return SliceSet(
        arrays["image"],
        arrays["brain"],
        arrays["valid"],
        arrays.get("tissue"),
        arrays.get("anomaly"),
        np.concatenate(heights).reshape(-1, 1, 1, 1) if heights else None,
        np.concatenate(neighbours) if settings.context else None,
    )


def neighbour_indices(count: int, context: int) -> NDArray[np.intp]:
    """``(count, 2 context)``: of every slice of a scan the ones below and above, the first and last repeated."""
    offsets = [offset for offset in range(-context, context + 1) if offset]
    return np.clip(np.arange(count)[:, None] + np.array(offsets, np.intp)[None], 0, max(0, count - 1))


def freeze_slices(slices: SliceSet, method: Method[Any], folder: Path, device: torch.device, mark: str) -> Path | None:
    """Let the method's frozen networks look at every slice once.

    Args:
        slices: The block.
        method: In any mode.
        folder: For ``frozen.npy``; one that ``mark`` says was made of the same is left as it is.
        device: Where the networks are.
        mark: Hash of everything that the outcome depends on.

    Returns:
        The file, ``(N, C, H, W)`` float16; ``None`` for a method without frozen networks.
    """
    path, note = folder / "frozen.npy", folder / "frozen.txt"
    if path.is_file() and note.is_file() and note.read_text(encoding="utf-8") == mark:
        return path
    block: NDArray[Any] | None = None
    for start in range(0, len(slices), FREEZE_BATCH):
        part = slice(start, start + FREEZE_BATCH)
        x, brain = (torch.from_numpy(array[part]).float().to(device) for array in (slices.image, slices.brain))
        frozen = method.freeze(x, brain)
        if frozen is None:
            return None
        if block is None:
            note.unlink(missing_ok=True)
            block = _new_block(folder, "frozen", (len(slices), *frozen.shape[1:]), np.float16)
        block[part] = frozen.half().cpu().numpy()
    write_bytes(note, mark.encode())
    return path


class Batches:
    """Draws batches from a :class:`SliceSet`.

    On the CPU the block stays memory-mapped and a batch is one gather per array; on a GPU the whole block is
    moved there once (uint8 and float16: 0.11 MB a 128 x 128 slice with tissue maps) and batches never leave it.

    Args:
        slices: The block.
        device: Where batches are wanted.
        frozen: File of :func:`freeze_slices`.
    """

    def __init__(self, slices: SliceSet, device: torch.device, frozen: Path | None = None) -> None:
        self.device = device
        arrays = {**slices._asdict(), "frozen": None if frozen is None else np.load(frozen, mmap_mode="r")}
        self._neighbours = arrays.pop("neighbours")
        self._arrays: dict[str, NDArray[Any]] = {name: array for name, array in arrays.items() if array is not None}
        self._tensors: dict[str, torch.Tensor] = {}
        if device.type != "cpu":
            self._tensors = {name: torch.from_numpy(array.copy()).to(device) for name, array in self._arrays.items()}
        self._count = len(slices)

    def __len__(self) -> int:
        """Number of slices."""
        return self._count

    def take(self, index: NDArray[np.integer]) -> Batch:
        """The slices of an index array ``(B,)`` as float32 tensors."""
        fields = {name: self._gather(name, index).float() for name in self._arrays}
        y = fields["tissue"].div_(255) if "tissue" in fields else None
        context = None
        if self._neighbours is not None:
            around = self._neighbours[index]
            gathered = self._gather("image", around.ravel()).float()
            context = gathered.view(len(index), around.shape[1], *gathered.shape[2:])
        return Batch(
            fields["image"],
            fields["brain"],
            y,
            fields["valid"],
            context,
            *(fields.get(name) for name in ("height", "anomaly", "frozen")),
        )

    def epoch(self, batch_size: int, seed: int, *, rank: int = 0, ranks: int = 1) -> Iterator[Batch]:
        """All slices once in random order, ``batch_size`` at a time over all ranks.

        An incomplete last batch is dropped unless it is the only one; which slices that hits changes every epoch.

        Args:
            batch_size: Slices a step over all ranks.
            seed: Fixes the order.
            rank: This process.
            ranks: Number of processes; each takes its share of every batch.
        """
        order = np.random.default_rng(seed).permutation(self._count)
        for start in range(0, self.steps(batch_size) * batch_size, batch_size):
            yield self.take(order[start : start + batch_size][rank::ranks])

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch."""
        return max(1, self._count // batch_size)

    def _gather(self, name: str, index: NDArray[np.integer]) -> torch.Tensor:
        if not self._tensors:
            return torch.from_numpy(np.asarray(self._arrays[name][index]))
        return self._tensors[name][torch.from_numpy(index).to(self.device)]


_CHUNK = 1 << 20
_FIELDS = {"image": np.float16, "brain": np.uint8, "valid": np.uint8}


def _new_block(folder: Path, name: str, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
    """A mapped array whose space on disk is taken before it is used: on a full disk a write to a map is a bus error."""
    path = folder / f"{name}.npy"
    try:
        block = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        size = path.stat().st_size
        with path.open("r+b", buffering=0) as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, size)
            else:
                for start in range(block.offset, size, _CHUNK):
                    stream.seek(start)
                    stream.write(bytes(min(_CHUNK, size - start)))
    except OSError as error:
        error.filename = str(path)
        raise
    return block


def _choose(case: CaseSlices, settings: SliceSettings) -> NDArray[np.intp]:
    """Indices of a case's slices that train."""
    wanted = case.brain.mean(axis=(1, 2)) >= settings.min_brain
    if settings.lesions == "drop":
        wanted &= ~_near(case.slice_index, case.slice_index[case.lesion_voxels > 0], settings.slice_margin)
    return np.flatnonzero(wanted)[:: settings.every]


def _near(index: NDArray[np.int32], marked: NDArray[np.int32], margin: int) -> NDArray[np.bool_]:
    """Which slices ``(S,)`` are marked or at most ``margin`` slices away from a marked one."""
    apart = np.abs(np.asarray(index)[:, None] - np.asarray(marked))
    return np.asarray((apart <= margin).any(axis=1))


def _grow(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Widen a mask ``(S, H, W)`` within its slices by a square of ``pixels`` on every side."""
    from scipy import ndimage

    return np.asarray(ndimage.maximum_filter(mask, size=(1, 2 * pixels + 1, 2 * pixels + 1)))
