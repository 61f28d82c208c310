"""Batches: training slices on a device, in an order fixed by seed, stage and epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcycle.methods.base import Batch
from semcycle.slices import SliceSet


class Batches:
    """Draws batches from a :class:`SliceSet`.

    On the CPU the block stays memory-mapped and a batch is one gather per array; on a GPU the whole block is
    moved there once (uint8 and float16: 0.11 MB a 128 x 128 slice with tissue maps) and batches never leave it.

    Args:
        slices: The block.
        device: Where batches are wanted.
    """

    def __init__(self, slices: SliceSet, device: torch.device) -> None:
        self.device = device
        self._arrays: list[NDArray[Any] | None] = [slices.image, slices.brain, slices.valid, slices.tissue]
        self._tensors: list[torch.Tensor | None] | None = None
        if device.type != "cpu":
            self._tensors = [
                None if array is None else torch.from_numpy(array.copy()).to(device) for array in self._arrays
            ]
        self._count = len(slices)

    def __len__(self) -> int:
        """Number of slices."""
        return self._count

    def take(self, index: NDArray[np.integer]) -> Batch:
        """The slices of an index array ``(B,)`` as float32 tensors."""
        image, brain, valid, tissue = self._gather(index)
        if image is None or brain is None or valid is None:
            msg = "expected image, brain and valid in the slice block"
            raise ValueError(msg)
        y = None if tissue is None else tissue.float().div_(255)
        return Batch(image.float(), brain.float(), y, valid.float())

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

    def _gather(self, index: NDArray[np.integer]) -> list[torch.Tensor | None]:
        if self._tensors is None:
            return [None if array is None else torch.from_numpy(array[index]) for array in self._arrays]
        where = torch.from_numpy(index).to(self.device)
        return [None if tensor is None else tensor[where] for tensor in self._tensors]
