"""Anatomy of a phantom: the MNI152 tissue templates under a random smooth diffeomorphic warp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import Affine, VoxelMask
from semcycle.volume.template import tissue_template

FIELD_MM = 6.0
"""Grid of the velocity field; smooth fields need no finer one."""


@dataclass(frozen=True)
class Anatomy:
    """A brain.

    Attributes:
        tissue: ``(3, I, J, K)`` GM, WM, CSF in [0, 1]; their sum is the brain's share of a voxel.
        affine: ``(4, 4)`` voxel -> mm.
    """

    tissue: NDArray[np.float32]
    affine: Affine

    @property
    def brain(self) -> VoxelMask:
        """``(I, J, K)`` voxels that are mostly brain."""
        return np.asarray(self.tissue.sum(axis=0) > 0.5)


def random_anatomy(spacing: int, generator: np.random.Generator) -> Anatomy:
    """Another brain: the template, scaled, sheared, with wider or narrower ventricles, and smoothly warped.

    Args:
        spacing: Voxel size in mm.
        generator: Source of all randomness.
    """
    template = Anatomy(*tissue_template(spacing))
    shape = template.tissue.shape[1:]
    displacement = random_displacement(shape, spacing, generator, _ventricles(template))
    centre = (np.array(shape, np.float32) - 1) / 2
    matrix = np.diag(generator.normal(1.06, 0.03, 3)) + generator.normal(0, 0.015, (3, 3))
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float32)
    where = np.einsum("ab,bijk->aijk", matrix, grid - centre[:, None, None, None]) + centre[:, None, None, None]
    where = (where + displacement).astype(np.float32)
    tissue = np.stack(
        [ndimage.map_coordinates(tissue_map, where, order=1, mode="constant") for tissue_map in template.tissue]
    )
    return Anatomy(tissue.astype(np.float32), template.affine)


def random_displacement(
    shape: tuple[int, ...],
    spacing: float,
    generator: np.random.Generator,
    ventricles: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """A smooth invertible displacement in voxels, ``(3, I, J, K)``.

    A stationary velocity field of two smoothness scales, plus one that widens or narrows the ventricles, is integrated
    by scaling and squaring on a coarse grid [arsigny2006], so that it never folds.

    Args:
        shape: Of the brain.
        spacing: Voxel size in mm.
        generator: Source of all randomness.
        ventricles: ``(I, J, K)`` where they are, in [0, 1]; ``None`` leaves them.
    """
    coarse = tuple(max(4, round(n * spacing / FIELD_MM)) for n in shape)
    velocity = np.zeros((3, *coarse), np.float32)  # in coarse voxels
    for sigma_mm, size_mm in ((30.0, 4.0), (14.0, 2.5)):
        noise = np.stack(
            [ndimage.gaussian_filter(generator.normal(size=coarse), sigma_mm / FIELD_MM) for _ in range(3)]
        )
        velocity += (noise / noise.std() * size_mm / FIELD_MM).astype(np.float32)
    if ventricles is not None:
        zoomed = ndimage.zoom(ventricles, [c / n for c, n in zip(coarse, shape, strict=True)], order=1)
        pull = np.stack(list(np.gradient(ndimage.gaussian_filter(zoomed, 1.5))))
        # sampling from nearer to the ventricles' middle widens them
        strength = generator.uniform(-3.0, 6.0) / FIELD_MM / max(float(np.abs(pull).max()), 1e-6)
        velocity += (pull * strength).astype(np.float32)
    steps = 5
    flow = velocity / 2**steps
    grid = np.stack(np.meshgrid(*map(np.arange, coarse), indexing="ij")).astype(np.float32)
    for _ in range(steps):
        flow = flow + np.stack([ndimage.map_coordinates(part, grid + flow, order=1, mode="nearest") for part in flow])
    ratios = [(n - 1) / (c - 1) for n, c in zip(shape, coarse, strict=True)]
    where = np.stack(
        np.meshgrid(*[np.linspace(0, c - 1, n) for c, n in zip(coarse, shape, strict=True)], indexing="ij")
    )
    fine = [ndimage.map_coordinates(part, where, order=1) * ratio for part, ratio in zip(flow, ratios, strict=True)]
    return np.stack(fine).astype(np.float32)


def _ventricles(anatomy: Anatomy) -> NDArray[np.float32]:
    """Inner CSF: far from the brain's edge."""
    depth = ndimage.distance_transform_edt(anatomy.brain)
    spacing = float(np.linalg.norm(anatomy.affine[:3, 0]))
    return np.where(depth * spacing > 25, anatomy.tissue[2], 0).astype(np.float32)
