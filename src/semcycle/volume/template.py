"""The MNI152 template brain (tissue maps, no HTML) and its registration to a scan.

GM, WM and CSF of ICBM 152 nonlinear 2009a, symmetric [fonov2009], as nilearn packages them, so nothing is downloaded;
affine and SyN of ANTs [avants2008], through antspyx. Scans come with axes RAS+ and go in as axis-aligned boxes: an
oblique affine is a rotation that the affine stage finds.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semcycle.types import Affine, Spacing, VoxelArray, VoxelMask

if TYPE_CHECKING:
    import ants


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


def warp_template(
    data: VoxelArray,
    spacing: Spacing,
    leave_out: VoxelMask | None = None,
    *,
    working_mm: float = 2.0,
    iterations: tuple[int, ...] = (40, 20, 0),
) -> NDArray[np.float32]:
    """Bring the template's tissue to a scan, with SyN.

    The scan is registered at ``working_mm``, the template stays at 1 mm: with both coarse, the warped priors are
    clearly worse.

    Args:
        data: ``(I, J, K)`` skull-stripped, bias-corrected T2, axes RAS+, 0 outside the brain.
        spacing: Voxel size in mm.
        leave_out: ``(I, J, K)`` voxels without a counterpart in a healthy brain.
        working_mm: Voxel size of the registration.
        iterations: Of SyN, from coarse to fine.

    Returns:
        ``(3, I, J, K)`` GM, WM, CSF in [0, 1] on the scan's grid.
    """
    tissue, step = _template(1)
    masks: dict[str, Any] = {}
    full = _image(data, spacing)
    fixed = _ants().resample_image(full, (working_mm,) * 3, use_voxels=False, interp_type=0)
    if leave_out is not None and leave_out.any():
        healthy = _ants().resample_image_to_target(_image(~leave_out, spacing), fixed, interp_type="nearestNeighbor")
        masks = {"mask": healthy, "mask_all_stages": True}
    return _register(fixed, full, tissue, step, type_of_transform="SyN", reg_iterations=iterations, **masks)


def linear_template_brain(
    data: VoxelArray, spacing: Spacing, freedom: Literal["Similarity", "Affine"] = "Affine"
) -> VoxelMask:
    """Bring the template's brain to a roughly stripped scan.

    Args:
        data: ``(I, J, K)`` T2, axes RAS+, 0 outside the rough brain.
        spacing: Voxel size in mm.
        freedom: ``Similarity`` has 7 degrees, ``Affine`` 12.

    Returns:
        ``(I, J, K)``.
    """
    tissue, step = _template(3)
    image = _image(data, spacing)
    fixed = _ants().resample_image(image, (3.0,) * 3, use_voxels=False, interp_type=0)
    return np.asarray(
        _register(fixed, image, tissue, step, type_of_transform=freedom, aff_random_sampling_rate=1.0).sum(axis=0) > 0.5
    )


def _register(
    fixed: ants.ANTsImage, target: ants.ANTsImage, tissue: NDArray[np.float32], step: Spacing, **options: Any
) -> NDArray[np.float32]:
    """Register a T2-like picture of ``tissue`` to ``fixed`` and resample the tissue to the grid of ``target``."""
    moving = _ants().smooth_image(_image(np.einsum("a,aijk->ijk", T2_LEVELS, tissue), step), 0.5)
    made = _ants().registration(fixed, moving, **options)
    try:
        warped = [_ants().apply_transforms(target, _image(one, step), made["fwdtransforms"]).numpy() for one in tissue]
    finally:  # ANTs leaves its transforms in the temporary folder
        for path in {*made["fwdtransforms"], *made["invtransforms"]}:
            Path(path).unlink(missing_ok=True)
    return np.clip(np.stack(warped), 0, 1).astype(np.float32)


def _template(mm: int) -> tuple[NDArray[np.float32], Spacing]:
    tissue, affine = tissue_template(mm)
    i, j, k = (float(step) for step in np.abs(np.diag(affine)[:3]))
    return tissue, (i, j, k)


def _image(data: NDArray[Any], spacing: Spacing) -> ants.ANTsImage:
    return _ants().from_numpy(np.asarray(data, np.float32), spacing=spacing)


def _ants() -> Any:
    # ANTs repeats its result only with one thread and a seed; antspyx 0.6 ignores the argument `random_seed`, and its
    # own switch for it seeds numpy for everybody
    os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
    os.environ.setdefault("ANTS_RANDOM_SEED", "1")
    import ants

    return ants
