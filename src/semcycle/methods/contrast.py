"""Contrast: scanners differ in how bright one tissue is beside another, and G paints one of all possible contrasts.

A residual of that difference is no anomaly. The median intensities of GM, WM and CSF of the scan, and of its
reconstruction, in the voxels where S is sure, say how the one contrast maps to the other; medians, so that a lesion
that S takes for a tissue does not move them while it is the smaller part.
"""

from __future__ import annotations

import numpy as np

from semcycle.types import SliceArray, SliceMask, TissueSlices

SURE = 0.9
"""Posterior from which a voxel stands for its tissue."""
ENOUGH = 300
"""Voxels of a tissue from which its median is used."""
STRAY = (0.6, 1.6)
"""Bounds of the factor between the two medians: beyond, something else is wrong than the contrast."""


def match_contrast(x: SliceArray, image: SliceArray, tissue: TissueSlices, brain: SliceMask) -> SliceArray:
    """Map the reconstruction's intensities so that its tissues have the scan's medians.

    The map is continuous and not falling, straight between the tissues' medians, and proportional below the darkest and
    above the brightest.

    Args:
        x: ``(S, H, W)`` scan in [0, 1].
        image: ``(S, H, W)`` reconstruction in [0, 1].
        tissue: ``(S, 3, H, W)`` GM, WM, CSF.
        brain: ``(S, H, W)``.

    Returns:
        ``(S, H, W)`` in [0, 1]; ``image`` itself where no tissue has enough voxels.
    """
    points = []
    for index in range(tissue.shape[1]):
        chosen = brain & (tissue[:, index] > SURE)
        if chosen.sum() >= ENOUGH and (level := float(np.median(image[chosen]))) > 0:
            points.append((level, level * float(np.clip(np.median(x[chosen]) / level, *STRAY))))
    if not points:
        return image
    old, new = np.array(sorted(points)).T
    new = np.maximum.accumulate(new)  # a darker tissue of the one is not brighter than a brighter one
    old, new = np.append(0, old), np.append(0, new)
    beyond = np.maximum(image - old[-1], 0) * (new[-1] / old[-1])
    return np.clip(np.interp(image, old, new) + beyond, 0, 1).astype(np.float32)
