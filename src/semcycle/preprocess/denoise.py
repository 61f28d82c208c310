"""Denoising: curvature flow, through SimpleITK, as the reference code has it for real scans (A18)."""

from __future__ import annotations

import numpy as np

from semcycle.types import Spacing, VoxelArray

TIME_STEP, ITERATIONS = 0.125, 3
"""Those of the code of [baur2021]."""


def smooth_by_curvature(data: VoxelArray, spacing: Spacing) -> VoxelArray:
    """Smooth a scan along its edges, not across them.

    Args:
        data: ``(I, J, K)`` intensities, of the whole scan: masks come later.
        spacing: Voxel size in mm along each axis.

    Returns:
        ``(I, J, K)``.
    """
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T, np.float32))
    image.SetSpacing(spacing)
    flow = sitk.CurvatureFlow(image, timeStep=TIME_STEP, numberOfIterations=ITERATIONS)
    return np.ascontiguousarray(sitk.GetArrayFromImage(flow).T)
