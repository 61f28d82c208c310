"""Tissue templates: GM, WM and CSF of the MNI152 average brain, as nilearn packages them, so nothing is downloaded.

ICBM 152 nonlinear 2009a, symmetric (Fonov et al. 2009, doi:10.1016/S1053-8119(09)70884-5).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from semcycle.types import Affine

T2_LEVELS = np.array([0.55, 0.35, 1.0], np.float32)
"""T2-like grey of GM, WM, CSF for a template to register to."""


@lru_cache(maxsize=2)
def tissue_template(spacing: int) -> tuple[NDArray[np.float32], Affine]:
    """GM, WM and CSF of the template at a voxel size in whole mm.

    The packaged maps have no CSF: it is what the brain holds besides GM and WM, after the packaged mask, which hugs
    the cortex, is closed over the sulci.

    Returns:
        ``(3, I, J, K)`` in [0, 1] with a sum of at most 1, axes RAS+, and the affine. Do not write to them.
    """
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_gm_template, load_mni152_wm_template
    from scipy import ndimage

    gm_image = load_mni152_gm_template(resolution=spacing)
    gm, wm = (
        np.asarray(image.dataobj, np.float32) for image in (gm_image, load_mni152_wm_template(resolution=spacing))
    )
    mask = np.asarray(load_mni152_brain_mask(resolution=spacing).dataobj) > 0
    gm, wm = np.clip(gm, 0, 1), np.clip(wm, 0, 1)
    brain = ndimage.binary_closing(mask | (gm + wm > 0.3), iterations=max(1, round(4 / spacing)))
    brain = ndimage.gaussian_filter(ndimage.binary_fill_holes(brain).astype(np.float32), 0.5)
    csf = np.clip(brain - gm - wm, 0, 1)
    tissue = np.stack([gm, wm, csf])
    return tissue / np.maximum(tissue.sum(axis=0), 1), np.asarray(gm_image.affine, float)
