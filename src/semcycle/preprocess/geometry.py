"""Geometry: from a scan's own grid to axial working slices, and back.

The working grid is a square window of ``size`` pixels of ``pixel_mm`` in the axial plane, centred on the
scan's field of view and shifted no further than needed to hold the brain, or centred on the brain. Slices stay where
they are: one working slice is one axial slice of the scan, so lesion-free slices and predictions need no interpolation
through the plane. For BraTS (240 x 240 x 155 at 1 mm) the default window is the whole field, 1.875 mm a pixel.
Other windows and kernels are options (ambiguity A17); all of them can be inverted, because the grid records its choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import GeometryError
from semcycle.types import SliceArray, SliceMask, VoxelArray, VoxelMask
from semcycle.volume import Volume, from_ras, ras_part, ras_spacing, ras_to_voxel, to_ras
from semcycle.volume.slabs import WHOLE

Window: TypeAlias = Literal["mm", "scan", "brain"]
Centre: TypeAlias = Literal["field", "brain"]
Kernel: TypeAlias = Literal["area", "cubic"]
Labels: TypeAlias = Literal["area", "nearest"]
_AT_ONCE = 16
"""Slices that are resampled at a time."""


@dataclass(frozen=True)
class WorkingGrid:
    """The decision how one scan maps to working slices; apply it, record it, invert it.

    Attributes:
        shape: Voxels of the scan ``(I, J, K)``.
        affine: ``(4, 4)`` of the scan, as nested lists.
        size: Pixels along both sides of the window.
        pixel_mm: Side of a working pixel in mm.
        start_mm: Where the window starts along W (left) and H (posterior), in mm from the edge of the field.
        kernel: How intensities and probabilities are resampled on the way to the slices.
        labels: How masks are.
    """

    shape: tuple[int, int, int]
    affine: list[list[float]]
    size: int
    pixel_mm: float
    start_mm: tuple[float, float]
    kernel: Kernel = "area"
    labels: Labels = "area"

    def forward(self, data: NDArray[Any]) -> SliceArray:
        """Resample ``(I, J, K)`` to ``(S, H, W)``; values keep their range, outside the field is 0.

        With ``area`` shrinking averages over the area of a working pixel and enlarging interpolates linearly. With
        ``cubic`` a pixel is the value of the cubic spline at its centre, cut to the range of the data, which the
        spline overshoots.
        """
        if self.kernel == "area":
            return self._resample(data, "area")
        return np.clip(self._resample(data, "cubic"), np.min(data), np.max(data)).astype(np.float32)

    def forward_mask(self, mask: VoxelMask) -> SliceMask:
        """Resample ``(I, J, K)`` to ``(S, H, W)``: ``area`` wants more than half of a pixel, ``nearest`` its centre."""
        return self._resample(mask, self.labels) > 0.5

    def inverse(self, slices: NDArray[Any], part: slice = WHOLE) -> VoxelArray:
        """Resample ``(S, H, W)`` back to the scan's ``(I, J, K)``; outside the window is 0.

        Always by area or linearly, whatever the kernel of the way there: scores and probabilities never overshoot.

        Args:
            slices: ``(S, H, W)``.
            part: Of the scan's axis K, the only voxels that are made.

        Returns:
            ``(I, J, K)`` in the order of NIfTI files, the first axis the fastest.
        """
        affine = np.array(self.affine)
        rows, columns = self._matrices("area", back=True)
        axis, wanted = ras_part(affine, self.shape, part)
        if axis == 0:
            columns = columns[wanted]
        elif axis == 1:
            rows = rows[wanted]
        else:
            slices = slices[wanted]
        data = rows @ np.asarray(slices, np.float32) @ columns.T  # (S, J, I)
        return np.asfortranarray(from_ras(data.transpose(2, 1, 0), affine))

    def locate(self, voxels: NDArray[np.integer]) -> NDArray[np.intp]:
        """The working pixels that the centres of voxels lie in; for voxels beside the window the nearest.

        Args:
            voxels: ``(N, 3)`` indices of the scan.

        Returns:
            ``(N, 3)`` slice, row and column.
        """
        affine = np.array(self.affine)
        to_ras = np.linalg.inv(ras_to_voxel(affine, self.shape))
        x, y, z = (voxels @ to_ras[:3, :3].T + to_ras[:3, 3]).T
        across, along, _ = ras_spacing(affine)
        columns = ((x + 0.5) * across - self.start_mm[0]) / self.pixel_mm
        rows = ((y + 0.5) * along - self.start_mm[1]) / self.pixel_mm
        pixels = [np.clip(np.floor(part), 0, self.size - 1) for part in (rows, columns)]
        return np.stack([np.rint(z), *pixels], axis=1).astype(np.intp)

    def _resample(self, data: NDArray[Any], kernel: str) -> SliceArray:
        rows, columns = self._matrices(kernel)
        slices = to_ras(data, np.array(self.affine)).transpose(2, 1, 0)  # (S, J, I)
        made = np.empty((len(slices), self.size, self.size), np.float32)
        for start in range(0, len(slices), _AT_ONCE):  # flipped axes and masks are copied to be multiplied
            part = slice(start, start + _AT_ONCE)
            made[part] = rows @ np.asarray(slices[part], np.float32) @ columns.T
        return made

    def _matrices(self, kernel: str, back: bool = False) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Resampling matrices for rows (H) and columns (W)."""
        make = {"area": _resample_matrix, "cubic": _cubic_matrix, "nearest": _nearest_matrix}[kernel]
        affine = np.array(self.affine)
        width, height, _ = to_ras(np.broadcast_to(np.int8(0), self.shape), affine).shape
        spacing = ras_spacing(affine)
        matrices = []
        for count, step, start in ((height, spacing[1], self.start_mm[1]), (width, spacing[0], self.start_mm[0])):
            if back:
                matrices.append(make(self.size, self.pixel_mm, count, step, -start))
            else:
                matrices.append(make(count, step, self.size, self.pixel_mm, start))
        return matrices[0], matrices[1]


def fit_grid(
    volume: Volume,
    brain: VoxelMask,
    size: int,
    pixel_mm: float,
    *,
    window: Window = "mm",
    centre: Centre = "field",
    kernel: Kernel = "area",
    labels: Labels = "area",
) -> WorkingGrid:
    """Decide the working grid of a scan.

    Args:
        volume: The scan.
        brain: ``(I, J, K)`` mask, not empty.
        size: Pixels along both sides.
        pixel_mm: Side of a pixel in mm where the window is ``mm``.
        window: ``mm``: pixels of a fixed size, so that a head keeps its size; ``scan``: the longer side of the field of
            view becomes the window; ``brain``: the longer side of the brain's box does.
        centre: What the window is centred on; always the brain where the window is ``brain``.
        kernel: Of intensities.
        labels: Of masks.

    Raises:
        GeometryError: The brain is larger than the window.
    """
    spacing = ras_spacing(volume.affine)
    mask = to_ras(brain, volume.affine)
    fields = [mask.shape[axis] * spacing[axis] for axis in (0, 1)]
    boxes = []
    for axis in (0, 1):
        inside = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        boxes.append((inside[0] * spacing[axis], (inside[-1] + 1) * spacing[axis]))
    if window != "mm":
        pixel_mm = float(max(fields) if window == "scan" else max(high - low for low, high in boxes)) / size
    side = size * pixel_mm
    starts = []
    for field, (low, high), name in zip(fields, boxes, ("left-right", "front-back"), strict=True):
        if high - low > side * (1 + 1e-9):
            msg = (
                f"{volume.source}: expected a brain of at most {side:.0f} mm {name}, got {high - low:.0f} mm; "
                "check the voxel size in the header and the brain mask"
            )
            raise GeometryError(msg)
        centred = (low + high - side) / 2 if "brain" in (window, centre) else (field - side) / 2
        starts.append(float(np.clip(centred, high - side, low)))
    affine = volume.affine.tolist()
    return WorkingGrid(volume.shape, affine, size, pixel_mm, (starts[0], starts[1]), kernel, labels)


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


def _cubic_matrix(n_in: int, step_in: float, n_out: int, step_out: float, start: float) -> NDArray[np.float32]:
    """As :func:`_resample_matrix`, but every output pixel is the interpolating cubic spline at its centre."""
    ratio = step_out / step_in
    first = start / step_in + ratio / 2 - 0.5
    along = np.diag([ratio, 1])
    spline = ndimage.affine_transform(np.eye(n_in), along, [first, 0], (n_out, n_in), order=3, mode="nearest")
    return np.asarray(spline * _in_field(n_in, step_in, n_out, step_out, start)[:, None], np.float32)


def _nearest_matrix(n_in: int, step_in: float, n_out: int, step_out: float, start: float) -> NDArray[np.float32]:
    """As :func:`_resample_matrix`, but every output pixel is the input pixel that holds its centre."""
    centres = start + step_out * (np.arange(n_out) + 0.5)
    holder = np.clip(np.floor(centres / step_in), 0, n_in - 1)
    inside = _in_field(n_in, step_in, n_out, step_out, start)[:, None]
    return ((holder[:, None] == np.arange(n_in)) & inside).astype(np.float32)


def _in_field(n_in: int, step_in: float, n_out: int, step_out: float, start: float) -> NDArray[np.bool_]:
    """Which output pixels ``(n_out,)`` have their centre on the line."""
    centres = start + step_out * (np.arange(n_out) + 0.5)
    return (centres >= 0) & (centres <= n_in * step_in)
