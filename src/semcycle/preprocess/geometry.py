"""Geometry: from a scan's own grid to axial working slices, and back.

The working grid is a square window of ``size`` pixels of ``pixel_mm`` in the axial plane, centred on the
scan's field of view and shifted no further than needed to hold the brain. Slices stay where they are: one
working slice is one axial slice of the scan, so lesion-free slices and predictions need no interpolation
through the plane. For BraTS (240 x 240 x 155 at 1 mm) the default window is the whole field, 1.875 mm a pixel.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import GeometryError
from semcycle.types import SliceArray, VoxelArray, VoxelMask
from semcycle.volume import Volume, from_ras, ras_spacing, to_ras


@dataclass(frozen=True)
class WorkingGrid:
    """The decision how one scan maps to working slices; apply it, record it, invert it.

    Attributes:
        shape: Voxels of the scan ``(I, J, K)``.
        affine: ``(4, 4)`` of the scan, as nested lists.
        size: Pixels along both sides of the window.
        pixel_mm: Side of a working pixel in mm.
        start_mm: Where the window starts along W (left) and H (posterior), in mm from the edge of the field.
    """

    shape: tuple[int, int, int]
    affine: list[list[float]]
    size: int
    pixel_mm: float
    start_mm: tuple[float, float]

    def forward(self, data: NDArray[Any]) -> SliceArray:
        """Resample ``(I, J, K)`` to ``(S, H, W)``.

        Shrinking averages over the area of a working pixel, enlarging interpolates linearly, so values
        keep their range and a mask becomes the covered fraction; outside the field is 0.
        """
        rows, columns = self._matrices()
        slices = to_ras(np.asarray(data, np.float32), np.array(self.affine)).transpose(2, 1, 0)  # (S, J, I)
        return np.ascontiguousarray(rows @ slices @ columns.T)

    def inverse(self, slices: NDArray[Any]) -> VoxelArray:
        """Resample ``(S, H, W)`` back to the scan's ``(I, J, K)``; outside the window is 0."""
        rows, columns = self._matrices(back=True)
        data = rows @ np.asarray(slices, np.float32) @ columns.T  # (S, J, I)
        return np.ascontiguousarray(from_ras(data.transpose(2, 1, 0), np.array(self.affine)))

    def _matrices(self, back: bool = False) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Resampling matrices for rows (H) and columns (W)."""
        affine = np.array(self.affine)
        width, height, _ = to_ras(np.broadcast_to(np.int8(0), self.shape), affine).shape
        spacing = ras_spacing(affine)
        made = []
        for count, step, start in ((height, spacing[1], self.start_mm[1]), (width, spacing[0], self.start_mm[0])):
            if back:
                made.append(_resample_matrix(self.size, self.pixel_mm, count, step, -start))
            else:
                made.append(_resample_matrix(count, step, self.size, self.pixel_mm, start))
        return made[0], made[1]


def fit_grid(volume: Volume, brain: VoxelMask, size: int, pixel_mm: float) -> WorkingGrid:
    """Decide the working grid of a scan.

    Args:
        volume: The scan.
        brain: ``(I, J, K)`` mask, not empty.
        size: Pixels along both sides.
        pixel_mm: Side of a pixel in mm.

    Raises:
        GeometryError: The brain is larger than the window.
    """
    spacing = ras_spacing(volume.affine)
    mask = to_ras(brain, volume.affine)
    window = size * pixel_mm
    starts = []
    for axis, name in ((0, "left-right"), (1, "front-back")):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        low, high = inside[0] * spacing[axis], (inside[-1] + 1) * spacing[axis]
        if high - low > window:
            msg = (
                f"{volume.source}: expected a brain of at most {window:.0f} mm {name}, got {high - low:.0f} mm; "
                "check the voxel size in the header and the brain mask"
            )
            raise GeometryError(msg)
        centred = (mask.shape[axis] * spacing[axis] - window) / 2
        starts.append(float(np.clip(centred, high - window, low)))
    return WorkingGrid(volume.shape, volume.affine.tolist(), size, pixel_mm, (starts[0], starts[1]))


def _resample_matrix(n_in: int, step_in: float, n_out: int, step_out: float, start: float) -> NDArray[np.float32]:
    """Matrix ``(n_out, n_in)`` that resamples a line of pixels.

    Pixels tile the line without gaps. ``start`` is where output pixel 0 begins, in mm from where input pixel 0
    begins. Shrinking averages by overlap, enlarging is linear between centres and constant to the field's edge.
    """
    edges = start + step_out * np.arange(n_out + 1)
    if step_out >= step_in:
        low = np.maximum(edges[:-1, None], step_in * np.arange(n_in))
        high = np.minimum(edges[1:, None], step_in * np.arange(1, n_in + 1))
        return np.asarray(np.clip(high - low, 0, None) / step_out, np.float32)
    centres = (edges[:-1] + edges[1:]) / 2
    position = np.clip(centres / step_in - 0.5, 0, n_in - 1)
    matrix = np.clip(1 - np.abs(position[:, None] - np.arange(n_in)), 0, None)
    matrix[(centres < 0) | (centres > n_in * step_in)] = 0
    return matrix.astype(np.float32)
