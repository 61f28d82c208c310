"""Names for arrays, so that axes are part of the signature.

Axes: ``I, J, K`` are a scan's own voxel axes; ``S`` counts axial slices of the working grid from foot
to head, ``H`` runs from posterior to anterior and ``W`` from left to right (RAS+); ``B`` is a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

VoxelArray: TypeAlias = NDArray[np.float32]
"""``(I, J, K)`` in a scan's own space."""

VoxelMask: TypeAlias = NDArray[np.bool_]
"""``(I, J, K)`` in a scan's own space."""

Affine: TypeAlias = NDArray[np.float64]
"""``(4, 4)`` voxel index -> millimetres, RAS+."""

SliceArray: TypeAlias = NDArray[np.float32]
"""``(S, H, W)`` on the working grid."""

SliceMask: TypeAlias = NDArray[np.bool_]
"""``(S, H, W)`` on the working grid."""

TissueSlices: TypeAlias = NDArray[np.float32]
"""``(S, 3, H, W)`` probabilities of GM, WM, CSF in [0, 1]; what is missing to 1 is background."""

ImageBatch: TypeAlias = "Tensor"
"""``(B, 1, H, W)`` intensities in [0, 1]."""

MaskBatch: TypeAlias = "Tensor"
"""``(B, 1, H, W)`` 0 or 1, float."""

TissueBatch: TypeAlias = "Tensor"
"""``(B, 3, H, W)`` probabilities of GM, WM, CSF."""

Spacing: TypeAlias = tuple[float, float, float]
"""Voxel size in mm along three axes."""

Box: TypeAlias = tuple[slice, slice, slice]
"""A part of a volume."""

TISSUES = ("gm", "wm", "csf")
"""Order of the tissue channels everywhere."""
