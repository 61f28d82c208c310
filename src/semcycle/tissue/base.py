"""TissueMaps: the probability of grey matter, white matter and CSF in every voxel of a scan."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from semcycle.cohorts.base import Case
from semcycle.errors import TissueError
from semcycle.preprocess.geometry import WorkingGrid
from semcycle.types import TissueSlices, VoxelMask
from semcycle.volume import Volume


@dataclass(frozen=True)
class TissueMaps:
    """Posteriors of one scan on its own grid.

    Attributes:
        data: ``(3, I, J, K)`` probabilities of GM, WM, CSF in [0, 1] with a sum of at most 1; what is missing
            to 1 is none of them.
        source: Where they came from, for messages and records.
    """

    data: NDArray[np.float32]
    source: str

    def to_slices(self, grid: WorkingGrid) -> TissueSlices:
        """Resample to working slices ``(S, 3, H, W)``; the sum stays at most 1."""
        slices = np.stack([grid.forward(tissue) for tissue in self.data], axis=1)
        if grid.kernel == "cubic":  # each map keeps to [0, 1], their sum need not
            slices /= np.maximum(slices.sum(axis=1, keepdims=True), 1)
        return slices


class TissueProvider(Protocol):
    """Where tissue maps come from. One file a provider and one line in ``TISSUE``."""

    def maps(self, case: Case, volume: Volume, brain: VoxelMask, lesion: VoxelMask) -> TissueMaps:
        """Tissue maps of a scan.

        Args:
            case: Where its files are.
            volume: The scan.
            brain: ``(I, J, K)``.
            lesion: ``(I, J, K)`` known lesion, to be left out of any fit; empty where there is none.

        Raises:
            TissueError: They are missing or implausible.
        """
        ...

    def files(self, case: Case) -> list[Path]:
        """Files besides the scan that the maps of a case depend on; a changed one makes the case anew."""
        ...

    def describe(self) -> dict[str, str]:
        """What distinguishes stores made with this provider."""
        ...


def make_tissue_maps(
    gm: NDArray[np.float32], wm: NDArray[np.float32], csf: NDArray[np.float32], source: str
) -> TissueMaps:
    """Check and stack three maps ``(I, J, K)``; sums above 1 (rounding, resampling) are scaled down to 1.

    Raises:
        TissueError: Values outside [0, 1], a map without any tissue, or a sum far above 1.
    """
    data = np.stack([gm, wm, csf]).astype(np.float32)
    low, high = float(data.min()), float(data.max())
    if low < -1e-3 or high > 1 + 1e-3:
        msg = f"{source}: expected tissue probabilities in [0, 1], got {low:g} to {high:g}; divide by their maximum"
        raise TissueError(msg)
    for name, tissue in zip(("GM", "WM", "CSF"), data, strict=True):
        if tissue.max() < 0.5:
            msg = (
                f"{source}: expected {name} somewhere, got a map that never exceeds {tissue.max():.2f}; check its "
                "segmentation"
            )
            raise TissueError(msg)
    total = data.sum(axis=0)
    if total.max() > 1.5:
        msg = (
            f"{source}: expected GM + WM + CSF of at most 1, got up to {total.max():.2f}; are these the right three "
            "maps?"
        )
        raise TissueError(msg)
    return TissueMaps(np.clip(data, 0, 1) / np.maximum(total, 1), source)
