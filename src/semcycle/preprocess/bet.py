"""Skull stripping of T2 scans: BET [smith2002], through brainextractor, without any weights.

BET runs at 2 mm isotropic, for it is made for cubic voxels. What it leaves of eyes, nose and skin is cut by the MNI152
brain, registered to its result by similarity and, after a first cut, by 12 degrees of freedom.
"""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
from scipy import ndimage

from semcycle.errors import BrainMaskError
from semcycle.preprocess.brain_mask import clean_mask
from semcycle.types import VoxelMask
from semcycle.volume import Volume, as_nibabel, from_ras, ras_spacing, to_ras
from semcycle.volume.template import linear_template_brain

WORKING_MM = 2.0
_MARGIN_MM = 2.0
"""How far the brain may reach beyond the registered template."""


def find_brain(volume: Volume) -> VoxelMask:
    """Find the brain in a scan with its skull.

    Returns:
        ``(I, J, K)`` mask, in one piece.

    Raises:
        BrainMaskError: It finds no brain.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from brainextractor import BrainExtractor
    data, spacing = to_ras(volume.data, volume.affine), ras_spacing(volume.affine)
    cubic = ndimage.zoom(data, [step / WORKING_MM for step in spacing], order=1)
    image = as_nibabel(cubic, np.diag([WORKING_MM] * 3 + [1.0]))
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # BET prints every iteration
            warnings.simplefilter("ignore")
            extractor = BrainExtractor(image)
            extractor.run()
            mask = np.asarray(extractor.compute_mask()) > 0
    except (ValueError, IndexError, FloatingPointError, np.linalg.LinAlgError) as error:
        msg = (
            f"{volume.source}: expected BET to find the brain, got a failure ({error}); give a brain mask "
            "(--brain-mask)"
        )
        raise BrainMaskError(msg) from error
    if not mask.any():
        msg = f"{volume.source}: expected BET to find the brain, got an empty mask; give a brain mask (--brain-mask)"
        raise BrainMaskError(msg)
    smooth = mask
    for freedom in ("Similarity", "Affine"):
        template = linear_template_brain(np.where(smooth, cubic, 0), (WORKING_MM,) * 3, freedom)
        near = ndimage.distance_transform_edt(~template) * WORKING_MM <= _MARGIN_MM
        smooth = clean_mask(ndimage.binary_opening(mask & near, iterations=2))
    back = [new / old for new, old in zip(data.shape, smooth.shape, strict=True)]
    native = ndimage.zoom(smooth.astype(np.float32), back, order=1, grid_mode=True, mode="nearest") > 0.5
    return np.ascontiguousarray(from_ras(native, volume.affine))
