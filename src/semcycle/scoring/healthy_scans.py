"""Healthy scans to calibrate on: files, or a slice store's cases without their lesions, gridded and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import ndimage

from semcycle.errors import StoreError
from semcycle.preprocess.geometry import WorkingGrid
from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.store.slice_store import SliceStore
from semcycle.types import SliceArray, SliceMask, Spacing, VoxelArray, VoxelMask
from semcycle.volume import load_mask, load_volume, ras_spacing

MARGIN = 5
"""Pixels around a lesion that do not count as healthy: oedema and pressure reach beyond what the expert drew."""


@dataclass(frozen=True)
class HealthyScan:
    """A scan, and which of its voxels are healthy.

    Attributes:
        name: Of the scan.
        subject: Whose it is.
        x: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``.
        healthy: ``(S, H, W)``, within the brain.
        grid: The way back to the scan's own voxels.
        brain_native: ``(I, J, K)``; ``None`` takes what the working grid has of it.
    """

    name: str
    subject: str
    x: SliceArray
    brain: SliceMask
    healthy: SliceMask
    grid: WorkingGrid
    brain_native: VoxelMask | None = None

    @property
    def spacing(self) -> Spacing:
        """Voxel size ``(S, H, W)`` of the working grid in mm."""
        return ras_spacing(np.array(self.grid.affine))[2], self.grid.pixel_mm, self.grid.pixel_mm

    @property
    def spacing_native(self) -> Spacing:
        """Voxel size of the scan in mm."""
        i, j, k = np.linalg.norm(np.array(self.grid.affine)[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @cached_property
    def inside(self) -> VoxelMask:
        """``(I, J, K)`` brain on the scan's voxels."""
        return self.grid.inverse(self.brain) > 0.5 if self.brain_native is None else self.brain_native

    @cached_property
    def healthy_native(self) -> VoxelMask:
        """``(I, J, K)`` healthy voxels of the scan."""
        lesions = self.brain & ~self.healthy
        return self.inside & (self.grid.inverse(lesions) < 0.5) if lesions.any() else self.inside

    def to_native(self, scores: SliceArray) -> VoxelArray:
        """Bring ``(S, H, W)`` to the scan's voxels, 0 outside the brain."""
        return np.where(self.inside, self.grid.inverse(scores), np.float32(0))


def read_store(store: SliceStore, cases: Sequence[str]) -> Iterator[HealthyScan]:
    """Cases of a store, their lesions and a margin around them left out.

    Slices that the store has left out come back as empty ones, so that heights in the head stay what they are.
    """
    for case_id in cases:
        case = store.load(case_id)
        grid = WorkingGrid(**case.record.preprocess["grid"])
        depth = int(np.array(grid.shape)[np.abs(np.array(grid.affine)[2, :3]).argmax()])
        near = ndimage.maximum_filter(case.lesion > 0, size=(1, 2 * MARGIN + 1, 2 * MARGIN + 1))
        shape = (max(depth, int(case.slice_index.max()) + 1), *case.image.shape[1:])
        x, brain, healthy = np.zeros(shape, np.float32), np.zeros(shape, bool), np.zeros(shape, bool)
        x[case.slice_index] = case.image
        brain[case.slice_index] = case.brain > 0
        healthy[case.slice_index] = (case.brain > 0) & ~near
        yield HealthyScan(case_id, store.subject(case_id), x, brain, healthy, grid)


def read_files(
    scans: Mapping[str, Path],
    settings: PreprocessSettings,
    find_brain: Callable[[str, Path], Path | None] = lambda name, scan: None,
) -> Iterator[HealthyScan]:
    """Scans without lesions from files; each is its own subject, named like the file.

    Args:
        scans: Name -> file.
        settings: Preparation of the model.
        find_brain: Name and file of a scan -> file of its brain mask, or ``None`` to find the brain.
    """
    for name, path in scans.items():
        volume, mask = load_volume(path), find_brain(name, path)
        prepared = preprocess(volume, settings, load_mask(mask, volume, "brain mask") if mask else None)
        brain = prepared.brain
        yield HealthyScan(name, name, prepared.image, brain, brain, prepared.record.grid, prepared.brain_native)


def check_store(store: SliceStore, settings: PreprocessSettings) -> None:
    """Refuse a store whose slices were prepared otherwise than the model's.

    Raises:
        StoreError: Settings that change the slices differ.
    """
    if differing := store.preprocess.differences(settings):
        msg = (
            f"{store.folder}: expected slices prepared as the model's, got others ({', '.join(differing)}); prepare a "
            "store with the model's settings"
        )
        raise StoreError(msg)
