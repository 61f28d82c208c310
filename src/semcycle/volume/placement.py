"""Where in a standard brain a scan's brain lies: a cheap affine alignment of its outline, a few tenths of a second.

The outline of the scan's brain is laid over that of the MNI152 template [fonov2009], as nilearn packages it, by
Gauss-Newton steps on both, smoothed. Nothing inside the brain is looked at, so a lesion does not pull; what the outline
does not fix, such as the height of the ventricles, stays a guess. Good for the word of a lobe, not for an atlas.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import Affine, VoxelArray, VoxelMask
from semcycle.volume import load_map
from semcycle.volume.slabs import thin_out

STEP_MM = 4
_BLUR_MM = 8.0
_ROUNDS = 20
_ARM_MM = 50.0
"""Lever at which a turn or a change of size counts in mm."""
_DAMPING = 0.01
"""Slows turns and changes of size: where a slab says little of them they stay near the start."""
_DONE_MM = 0.02
_UNLIKE = 0.15
"""Root mean square of the difference of both smoothed outlines from which they are no match."""


@lru_cache(maxsize=1)
def brain_outline() -> tuple[VoxelMask, Affine]:
    """The template's brain at ``STEP_MM``, axes RAS+, and its affine; cerebellum and brain stem included."""
    found = find_spec("nilearn")
    folder = Path(found.origin or "").parent / "datasets" / "data" if found else Path()
    maps = []
    for tissue in ("gm", "wm"):
        image = load_map(folder / f"mni_icbm152_{tissue}_tal_nlin_sym_09a_converted.nii.gz")
        maps.append(image.data / image.data.max())
    i, j, k = (size // STEP_MM for size in maps[0].shape)
    parenchyma = (maps[0] + maps[1])[: i * STEP_MM, : j * STEP_MM, : k * STEP_MM]
    share = parenchyma.reshape(i, STEP_MM, j, STEP_MM, k, STEP_MM).mean(axis=(1, 3, 5))
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(share > 0.3, 3), iterations=2))[3:-3, 3:-3, 3:-3]
    return np.asarray(brain, bool), _thinned(image.affine, (STEP_MM,) * 3)


def place_brain(brain: VoxelMask, affine: Affine) -> Affine | None:
    """Lay a brain over the template's.

    Args:
        brain: ``(I, J, K)``, not empty, of any orientation and voxel size; parts of a brain are placed less well.
        affine: ``(4, 4)`` of the scan.

    Returns:
        ``(4, 4)`` mm of the scan -> mm of the template; ``None`` where the outlines do not match.
    """
    template, grid = brain_outline()
    thin = thin_out(brain)
    brain, affine = thin, affine @ np.diag([2.0, 2.0, 2.0, 1.0]) if thin.size < brain.size else affine
    factors = tuple(max(1, round(STEP_MM / float(side))) for side in np.linalg.norm(affine[:3, :3], axis=0))
    share, affine = _block_means(brain, factors), _thinned(affine, factors)
    if not (share > 0.5).any():
        return None
    ours = ndimage.gaussian_filter(share, _BLUR_MM / np.linalg.norm(affine[:3, :3], axis=0), mode="constant")
    theirs = ndimage.gaussian_filter(template.astype(np.float32), _BLUR_MM / STEP_MM)
    slopes = np.stack(np.gradient(theirs, STEP_MM)).reshape(3, -1)
    kept = (theirs.ravel() > 0.02) | (np.abs(slopes).sum(axis=0) > 1e-3)
    places, wanted = grid @ _indices(theirs.shape)[:, kept], theirs.ravel()[kept]
    levers = np.vstack([places[:3] / _ARM_MM, places[3:]])
    design = (slopes[:, None, kept] * levers).reshape(12, -1)
    damping = np.diag(np.tile([_DAMPING] * 3 + [1e-6], 3)) * (design**2).sum() / 12

    to_index, to_scan = np.linalg.inv(affine), _centred(share, affine, places, wanted)
    for _ in range(_ROUNDS):
        index = (to_index @ to_scan @ places)[:3]
        seen = ((index >= -0.5) & (index <= np.array(ours.shape)[:, None] - 0.5)).all(axis=0)
        off = np.where(seen, ndimage.map_coordinates(ours, index, order=1, mode="nearest") - wanted, 0)
        step = np.linalg.solve((design * seen) @ design.T + damping, design @ off).reshape(3, 4)
        change = np.eye(4)
        change[:3] += step / [_ARM_MM, _ARM_MM, _ARM_MM, 1]
        to_scan = to_scan @ np.linalg.inv(change)
        if np.abs(step).max() < _DONE_MM:
            break
    error = float(np.sqrt((off[seen] ** 2).mean())) if seen.any() else np.inf
    sane = 0.4 < np.linalg.det(to_scan[:3, :3]) < 2.5
    return np.asarray(np.linalg.inv(to_scan), float) if sane and error < _UNLIKE else None


def _centred(share: NDArray[np.float32], affine: Affine, places: NDArray[np.float64], wanted: VoxelArray) -> Affine:
    """Template mm -> scan mm with both centres of mass on each other, in the size that both volumes ask for."""
    index = np.argwhere(share > 0.5)
    centre = affine[:3, :3] @ index.mean(axis=0) + affine[:3, 3]
    inside = places[:3, wanted > 0.5]
    size = (len(index) * abs(np.linalg.det(affine[:3, :3])) / (inside.shape[1] * STEP_MM**3)) ** (1 / 3)
    start = np.diag([size, size, size, 1.0])
    start[:3, 3] = centre - size * inside.mean(axis=1)
    return start


def _block_means(brain: VoxelMask, factors: tuple[int, ...]) -> NDArray[np.float32]:
    """Share of brain in blocks of ``factors`` voxels; what is left over at the ends is dropped."""
    share: NDArray[Any] = brain
    for axis in (2, 1, 0):
        starts = np.arange(0, share.shape[axis] // factors[axis] * factors[axis], factors[axis])
        whole = np.take(share, range(len(starts) * factors[axis]), axis=axis)
        share = np.add.reduceat(whole, starts, axis=axis, dtype=np.float32) / np.float32(factors[axis])
    return share


def _thinned(affine: Affine, factors: tuple[int, ...]) -> Affine:
    """Affine of a grid whose voxels are blocks of ``factors`` voxels."""
    to_index = np.diag([*map(float, factors), 1.0])
    to_index[:3, 3] = [(factor - 1) / 2 for factor in factors]
    return np.asarray(affine @ to_index)


def _indices(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """``(4, N)`` homogeneous indices of all voxels."""
    index = np.stack(np.meshgrid(*[np.arange(size) for size in shape], indexing="ij")).reshape(3, -1)
    return np.vstack([index, np.ones(index.shape[1])])
