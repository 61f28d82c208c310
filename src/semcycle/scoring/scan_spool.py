"""Spool: reconstructed scans on disk between the passes of a calibration, so that hundreds of them need no memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.methods.base import Reconstructed
from semcycle.scoring.healthy_scans import HealthyScan


class ScanSpool:
    """Healthy scans and their reconstructions in half precision, the brain's voxels only: some 6 MB a scan.

    Args:
        folder: An empty one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._scans: list[HealthyScan] = []

    def __len__(self) -> int:
        """Number of scans."""
        return len(self._scans)

    def append(self, scan: HealthyScan, reconstructed: Reconstructed) -> None:
        """Put a scan behind the others."""
        inside = scan.brain
        arrays: dict[str, NDArray[Any]] = {
            "brain": np.packbits(inside),
            "healthy": np.packbits(scan.healthy),
            "x": scan.x[inside].astype(np.float16),
            "image": reconstructed.image[inside].astype(np.float16),
        }
        if reconstructed.tissue is not None:
            arrays["tissue"] = np.rint(reconstructed.tissue.transpose(1, 0, 2, 3)[:, inside] * 255).astype(np.uint8)
        if reconstructed.score is not None:
            arrays["score"] = reconstructed.score[inside].astype(np.float16)
        if scan.brain_native is not None:
            arrays["native"] = np.packbits(scan.brain_native)
        np.savez(self.folder / f"{len(self._scans)}.npz", allow_pickle=False, **arrays)
        nothing = np.zeros((len(scan.x), 0, 0), bool)
        self._scans.append(
            replace(scan, x=nothing.astype(np.float32), brain=nothing, healthy=nothing, brain_native=None)
        )

    def load(self, index: int) -> tuple[HealthyScan, Reconstructed]:
        """A scan as it was put in, and its reconstruction, but for rounding to half precision."""
        scan = self._scans[index]
        shape = (len(scan.x), scan.grid.size, scan.grid.size)
        with np.load(self.folder / f"{index}.npz", allow_pickle=False) as arrays:
            brain = _unpack(arrays["brain"], shape)

            def whole(values: NDArray[Any]) -> NDArray[np.float32]:
                array = np.zeros(shape, np.float32)
                array[brain] = values
                return array

            tissue = None
            if "tissue" in arrays:
                tissue = np.stack([whole(channel / np.float32(255)) for channel in arrays["tissue"]], axis=1)
            reconstructed = Reconstructed(
                whole(arrays["image"]), tissue, whole(arrays["score"]) if "score" in arrays else None
            )
            native = _unpack(arrays["native"], tuple(scan.grid.shape)) if "native" in arrays else None
            healthy = _unpack(arrays["healthy"], shape)
            return replace(scan, x=whole(arrays["x"]), brain=brain, healthy=healthy, brain_native=native), reconstructed


def _unpack(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.unpackbits(bits, count=int(np.prod(shape))).astype(bool).reshape(shape)
