"""Lesions of phantoms: what tumours, strokes and multiple sclerosis do to a T2 image.

Every lesion is a pair of arrays: how much of a voxel it fills, and how bright it is there relative to CSF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.cohorts.simulated.anatomy import Anatomy


@dataclass(frozen=True)
class Lesion:
    """A lesion.

    Attributes:
        fraction: ``(I, J, K)`` share of a voxel in [0, 1]; above 0.5 is the expert's mask.
        level: ``(I, J, K)`` T2 signal between GM (0) and CSF (1); negative is darker than GM.
    """

    fraction: NDArray[np.float32]
    level: NDArray[np.float32]


def tumour(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """A glioma of 15 to 80 ml: a lobulated bright core, often with a dark or fluid centre, and oedema along the WM."""
    spacing = _spacing(anatomy)
    gm, wm, csf = anatomy.tissue
    centre = _pick_centre(anatomy, generator, depth_mm=(14, 35))
    distance = _distance(anatomy, centre)
    lumps = _smooth_noise(distance.shape, 7 / spacing, generator)
    radius = generator.uniform(11, 19)
    core = _soft(radius * (1 + 0.3 * lumps) - distance, spacing)
    fingers = _smooth_noise(distance.shape, 4 / spacing, generator)
    spread = radius * generator.uniform(1.3, 1.9) * (0.75 + 0.45 * wm + 0.25 * fingers)
    oedema = _soft(spread - distance, 2 * spacing) * np.clip(1 - csf, 0, 1) * np.clip(wm + 0.35 * gm, 0, 1)
    inner = _soft(radius * generator.uniform(0.3, 0.6) * (1 + 0.4 * lumps) - distance, spacing)
    level = 0.45 * oedema + (generator.uniform(0.35, 0.6) + 0.15 * fingers) * core
    level = np.where(inner > 0, (1 - inner) * level + inner * generator.choice([-0.3, 0.95]), level)
    fraction = np.maximum(core, oedema) * anatomy.tissue.sum(axis=0)
    return Lesion(fraction.astype(np.float32), level.astype(np.float32))


def stroke(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """A sub-acute infarct of 5 to 60 ml: a wedge from the depth to the cortex, evenly bright, sulci spared."""
    spacing = _spacing(anatomy)
    centre = _pick_centre(anatomy, generator, depth_mm=(4, 10))
    middle = np.array(ndimage.center_of_mass(anatomy.brain))
    inward = (middle - centre) / np.linalg.norm(middle - centre)
    grid = np.stack(np.meshgrid(*map(np.arange, anatomy.brain.shape), indexing="ij")).astype(np.float32)
    offset = (grid - centre[:, None, None, None]) * spacing
    along = np.einsum("a,aijk->ijk", inward, offset)
    across = np.sqrt(np.maximum((offset**2).sum(axis=0) - along**2, 0))
    length = generator.uniform(25, 45)
    width = generator.uniform(12, 20) * np.clip(1 - along / length, 0, 1)
    ragged = 3 * _smooth_noise(along.shape, 3 / spacing, generator)
    wedge = _soft(np.minimum(width - across + ragged, np.minimum(along + 14, length - along)), spacing)
    fraction = wedge * np.clip(anatomy.tissue[0] + anatomy.tissue[1], 0, 1)
    return Lesion(fraction.astype(np.float32), np.full(fraction.shape, generator.uniform(0.35, 0.6), np.float32))


def multiple_sclerosis(anatomy: Anatomy, generator: np.random.Generator) -> Lesion:
    """10 to 25 ovoid plaques of 3 to 12 mm in the WM, most of them beside the ventricles."""
    spacing = _spacing(anatomy)
    wm, csf = anatomy.tissue[1], anatomy.tissue[2]
    depth = ndimage.distance_transform_edt(anatomy.brain) * spacing
    to_ventricle = ndimage.distance_transform_edt(~((csf > 0.5) & (depth > 22))) * spacing
    weights = np.where((wm > 0.8) & (depth > 12), np.exp(-to_ventricle / 8) + 0.02, 0).ravel()
    count = int(generator.integers(10, 26))
    centres = np.array(np.unravel_index(generator.choice(weights.size, count, p=weights / weights.sum()), wm.shape)).T
    fraction = np.zeros(wm.shape, np.float32)
    for centre in centres:
        radii = generator.uniform(1.6, 4.5) * np.array([generator.uniform(1.0, 1.7), 1.0, 1.0])
        reach = np.ceil(radii.max() * 1.6 / spacing).astype(int)
        box = tuple(slice(max(c - reach, 0), c + reach + 1) for c in centre)
        grid = np.stack(
            np.meshgrid(
                *[np.arange(s.start, min(s.stop, n)) for s, n in zip(box, wm.shape, strict=True)], indexing="ij"
            )
        )
        scaled = (grid - centre[:, None, None, None]) * spacing / radii[:, None, None, None]
        plaque = _soft((1 - np.sqrt((scaled**2).sum(axis=0))) * radii.mean(), spacing)
        fraction[box] = np.maximum(fraction[box], plaque)
    fraction *= np.clip(1 - csf, 0, 1) * anatomy.tissue.sum(axis=0)
    return Lesion(fraction.astype(np.float32), np.full(wm.shape, generator.uniform(0.4, 0.65), np.float32))


LESIONS = {"tumour": tumour, "stroke": stroke, "ms": multiple_sclerosis}
"""Kind -> generator of a lesion."""


def _spacing(anatomy: Anatomy) -> float:
    return float(np.linalg.norm(anatomy.affine[:3, 0]))


def _soft(inside_mm: NDArray[np.floating], width_mm: float) -> NDArray[np.float32]:
    """Signed distance to the edge -> share of a voxel, 1 inside and 0 outside over ``width_mm``."""
    return np.clip(0.5 + inside_mm / width_mm, 0, 1).astype(np.float32)


def _smooth_noise(shape: tuple[int, ...], sigma: float, generator: np.random.Generator) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(generator.normal(size=shape).astype(np.float32), sigma)
    return np.asarray(noise / max(float(noise.std()), 1e-6), np.float32)


def _distance(anatomy: Anatomy, centre: NDArray[np.integer]) -> NDArray[np.float32]:
    """Distance of every voxel to a point, in mm."""
    axes = [(np.arange(n, dtype=np.float32) - c) ** 2 for n, c in zip(anatomy.brain.shape, centre, strict=True)]
    squared = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    return np.asarray(np.sqrt(squared) * _spacing(anatomy), np.float32)


def _pick_centre(
    anatomy: Anatomy, generator: np.random.Generator, depth_mm: tuple[float, float]
) -> NDArray[np.integer]:
    """A voxel of the cerebrum's tissue at a depth below the brain's surface, in its upper two thirds."""
    depth = ndimage.distance_transform_edt(anatomy.brain) * _spacing(anatomy)
    tissue = anatomy.tissue[0] + anatomy.tissue[1] > 0.7
    inside = np.flatnonzero(anatomy.brain.any(axis=(0, 1)))
    lowest = inside[0] + (inside[-1] - inside[0]) * 0.35
    allowed = tissue & (depth >= depth_mm[0]) & (depth <= depth_mm[1])
    allowed &= np.arange(depth.shape[2]) >= lowest
    allowed &= np.arange(depth.shape[2]) <= inside[-1] - (inside[-1] - inside[0]) * 0.12
    return np.asarray(generator.choice(np.argwhere(allowed)))
