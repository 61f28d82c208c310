"""Bias field: N4 [tustison2010], through SimpleITK."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from semcycle.types import VoxelArray, VoxelMask

ITERATIONS = (20, 20, 20)
"""Per level of the B-spline grid."""
SHRINK_MM = 4.0
"""The field is fitted on voxels of about this size; it is smooth, so finer ones cost time only."""


def fit_bias(
    data: VoxelArray, spacing: tuple[float, float, float], brain: VoxelMask, leave_out: VoxelMask | None = None
) -> NDArray[np.float32]:
    """Fit the smooth field by which a scan is brighter or darker from place to place.

    Args:
        data: ``(I, J, K)`` intensities.
        spacing: Voxel size in mm along each axis.
        brain: ``(I, J, K)``; the field is fitted here.
        leave_out: ``(I, J, K)`` voxels to keep out of the fit, such as a known lesion.

    Returns:
        ``(I, J, K)`` positive factors with geometric mean 1 in the brain; divide the scan by them.
    """
    import SimpleITK as sitk

    fitted = brain & (data > 0) if leave_out is None else brain & (data > 0) & ~leave_out
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(fitted))
    image, mask = (
        sitk.GetImageFromArray(np.ascontiguousarray(array[box].T, kind))
        for array, kind in ((data, np.float32), (fitted, np.uint8))
    )
    for volume in (image, mask):
        volume.SetSpacing(spacing)
    factors = [
        max(1, min(round(SHRINK_MM / step), size // 8)) for step, size in zip(spacing, image.GetSize(), strict=True)
    ]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    n4.SetConvergenceThreshold(1e-4)
    n4.Execute(sitk.Shrink(image, factors), sitk.Shrink(mask, factors))
    log_field = sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)).T
    field = np.ones(data.shape, np.float32)
    inside = fitted[box]
    field[box] = np.exp(log_field - log_field[inside].mean())
    return field
