"""Slabs: outputs on a large scan's voxels are made, and written, some slices at a time.

A head at 0.5 mm has 71 million voxels: every array of floats on them takes 290 MB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGE = 1 << 24
"""Voxels of the largest scan that is still handled as a whole, nearly twice a head at 1 mm."""
SLAB = 1 << 22
"""About so many voxels of a larger one are handled at a time."""
WHOLE = slice(None)


@dataclass(frozen=True)
class Slabs:
    """An array that is made part by part.

    Attributes:
        shape: ``(I, J, K)`` or ``(I, J, K, C)``.
        dtype: Of all parts.
        make: A part of the axis K and a channel, 0 without channels -> ``(I, J, k)``.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    make: Callable[[slice, int], NDArray[Any]]


def cut_slabs(shape: tuple[int, ...]) -> list[slice]:
    """Parts of a scan's axis K, in order; one for a scan that is not large."""
    voxels, last = int(np.prod(shape[:3])), shape[2]
    if voxels <= LARGE:
        return [slice(0, last)]
    step = max(1, SLAB * last // voxels)
    return [slice(start, min(start + step, last)) for start in range(0, last, step)]


def as_slabs(data: NDArray[Any]) -> Slabs:
    """An array ``(I, J, K)`` or ``(I, J, K, C)`` that is there, as slabs."""
    return Slabs(data.shape, data.dtype, lambda part, channel: data[(..., part, channel)[: data.ndim - 1]])


def thin_out(data: NDArray[Any]) -> NDArray[Any]:
    """Every second voxel along each axis of a large scan, all of another one (a view): enough for its statistics."""
    return data if data.size <= LARGE else data[::2, ::2, ::2]
