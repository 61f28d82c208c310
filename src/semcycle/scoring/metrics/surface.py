"""Surface distances between two masks in mm: HD95 and the average symmetric surface distance (ASSD).

The surface of a mask is its voxels with a neighbour outside that shares a face; distances run between voxel centres and
respect the voxel size along every axis. Contours and distance maps are SimpleITK's [maurer2003]. HD95 is the larger of
the two directed 95 % percentiles, as in MONAI; pooling both directions before the percentile, as medpy does, gives
smaller numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.types import Spacing
from semcycle.volume.masks import bounding_box, check_spacing


class SurfaceDistances(NamedTuple):
    """How far two surfaces are apart.

    Attributes:
        hd95_mm: Larger of the two directed 95 % percentiles.
        assd_mm: Mean over the voxels of both surfaces.
    """

    hd95_mm: float
    assd_mm: float


NOWHERE = SurfaceDistances(np.nan, np.nan)


def surface_distances(first: NDArray[np.bool_], other: NDArray[np.bool_], spacing: Spacing) -> SurfaceDistances:
    """Measure how far the surfaces of two masks are apart; symmetric in the masks.

    Args:
        first: ``(I, J, K)`` bool.
        other: Same shape.
        spacing: Voxel size in mm along these axes.

    Returns:
        Distances in mm; NaN where either mask is empty, as there is no surface to measure to. How many cases a mean is
        taken over therefore belongs beside it.

    Raises:
        ScoringError: Shapes differ, are not 3-D, or a voxel has no size.
    """
    if first.shape != other.shape or first.ndim != 3:
        msg = f"expected two masks of one 3-D shape, got {first.shape} and {other.shape}; resample one to the other"
        raise ScoringError(msg)
    check_spacing(spacing)
    box = bounding_box(first | other)
    if box is None or not first.any() or not other.any():
        return NOWHERE
    (edge, away), (other_edge, other_away) = (_measure(mask[box], spacing) for mask in (first, other))
    there, back = other_away[edge], away[other_edge]
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return SurfaceDistances(float(hd95), float((there.sum() + back.sum()) / (there.size + back.size)))


def _measure(mask: NDArray[np.bool_], spacing: Spacing) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Surface voxels, and the distance in mm of every voxel to the nearest of them, with a margin of one voxel."""
    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))  # whose axes are turned round
    image.SetSpacing(spacing[::-1])
    edge = sitk.LabelContour(image, False)
    away = sitk.SignedMaurerDistanceMap(edge, insideIsPositive=False, squaredDistance=False, useImageSpacing=True)
    return sitk.GetArrayFromImage(edge) > 0, np.abs(sitk.GetArrayFromImage(away))
