"""Acquisition: the same head in another position and contrast, and sampled by thicker slices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.types import SliceArray, SliceMask, Spacing
from semcycle.volume.masks import bounding_box


def move(
    image: SliceArray, masks: list[SliceMask], spacing: Spacing, rng: np.random.Generator, *, widen: float
) -> tuple[SliceArray, list[SliceMask]]:
    """Mirror, turn and scale a head in its slices, and magnify its middle as if the ventricles were wide.

    Args:
        image: ``(S, H, W)``.
        masks: Moved along.
        spacing: Voxel size in mm.
        rng: Random numbers.
        widen: Largest magnification of the middle.
    """
    box = bounding_box(masks[0])
    if box is None:
        return image, masks
    depth, height, width = image.shape
    middle = [(side.start + side.stop - 1) / 2 for side in box]
    turn, scale = np.radians(rng.normal(0, 4)), rng.uniform(0.93, 1.07, 2)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    y, x = np.arange(height)[:, None] - middle[1], np.arange(width)[None] - middle[2]
    rows = (np.cos(turn) * y - np.sin(turn) * x) * scale[0]
    columns = (np.sin(turn) * y + np.cos(turn) * x) * scale[1] * mirror
    radius, reach = np.hypot(rows, columns) * spacing[1], rng.uniform(25, 45)
    bump = np.exp(-((radius / reach) ** 2))
    ventricles = box[0].start + 0.55 * (box[0].stop - box[0].start)
    amount = (1 - 1 / rng.uniform(1, 1 + widen)) if rng.random() < 0.5 else 0.0
    moved, moved_masks = np.empty_like(image), [np.empty_like(mask) for mask in masks]
    for index in range(depth):
        shrink = 1 - amount * np.exp(-(((index - ventricles) * spacing[0] / 30) ** 2)) * bump
        where = np.stack([rows * shrink + middle[1], columns * shrink + middle[2]])
        moved[index] = ndimage.map_coordinates(image[index], where, order=1)
        nearest = tuple(np.rint(where).astype(np.intp))
        inside = (nearest[0] >= 0) & (nearest[0] < height) & (nearest[1] >= 0) & (nearest[1] < width)
        clipped = np.clip(nearest[0], 0, height - 1), np.clip(nearest[1], 0, width - 1)
        for mask, target in zip(masks, moved_masks, strict=True):
            target[index] = mask[index][clipped] & inside
    return np.where(moved_masks[0], moved, np.float32(0)), moved_masks


def change_contrast(
    image: SliceArray, brain: SliceMask, spacing: Spacing, rng: np.random.Generator, *, coils: float
) -> SliceArray:
    """Gamma, brightness of fluid, bias and coil fields, blur in the slice; the brain's median stays where it was.

    Args:
        image: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``.
        spacing: Voxel size in mm.
        rng: Random numbers.
        coils: Probability of a coil's field.
    """
    median = float(np.median(image[brain]))
    varied = np.clip(image, 1e-6, 1) ** np.float32(np.exp(rng.uniform(-0.3, 0.3)))
    knee = 1.35 * float(np.median(varied[brain]))
    varied = np.where(varied > knee, knee + (varied - knee) * rng.uniform(0.7, 1.5), varied)
    if rng.random() < 0.7:
        grid = rng.uniform(-0.25, 0.25, (4, 4, 4))
        factors = [(side - 1) / (size - 1) for side, size in zip(grid.shape, image.shape, strict=True)]
        field = ndimage.affine_transform(grid, np.diag(factors), output_shape=image.shape, order=1)
        varied = varied * (1 + rng.uniform(0.3, 1) * field)
    if rng.random() < coils:
        varied = varied * coil_field(brain, spacing, rng)
    if rng.random() < 0.35:
        varied = ndimage.gaussian_filter(varied, (0, *[rng.uniform(0.5, 1.8) / spacing[1]] * 2))
    varied = varied * (median / max(float(np.median(varied[brain])), 1e-6)) * rng.uniform(0.93, 1.07)
    return np.where(brain, np.clip(varied, 0, 1), 0).astype(np.float32)


def coil_field(brain: SliceMask, spacing: Spacing, rng: np.random.Generator) -> NDArray[np.float32]:
    """Gain of one or two coils beside the head, which falls off exponentially with the distance to them.

    Args:
        brain: ``(S, H, W)``.
        spacing: Voxel size in mm.
        rng: Random numbers.

    Returns:
        ``(S, H, W)``, 1 far away; up to 2.2 beside a coil, down to .5 where one fails.
    """
    box, gain = bounding_box(brain), np.ones(brain.shape, np.float32)
    if box is None:
        return gain
    sides = [np.arange(size) * step for size, step in zip(brain.shape, spacing, strict=True)]
    grid = np.meshgrid(*sides, indexing="ij", sparse=True)
    middle = np.array([(side.start + side.stop) / 2 * step for side, step in zip(box, spacing, strict=True)])
    reach = np.array([(side.stop - side.start) / 2 * step for side, step in zip(box, spacing, strict=True)])
    for _ in range(rng.integers(1, 3)):
        heading = rng.standard_normal(3)
        coil = middle + heading / np.linalg.norm(heading) * (reach + rng.uniform(5, 30))
        distance = np.sqrt(sum((line - at) ** 2 for line, at in zip(grid, coil, strict=True)))
        change = rng.uniform(0.2, 1.2) if rng.random() < 0.75 else rng.uniform(-0.5, -0.15)
        fall = np.exp(-np.maximum(distance - 15, 0) / rng.uniform(20, 70))
        gain = np.clip(gain * (1 + change * fall), 0.5, 2.2).astype(np.float32)
    return gain


def average_slices(data: NDArray[np.floating | np.bool_], thick: int, first: int, step: int) -> NDArray[np.float32]:
    """Means of ``thick`` neighbouring slices, every ``step`` slices from ``first`` on."""
    starts = np.arange(first, len(data) - thick + 1, step)
    sums = np.concatenate([np.zeros((1, *data.shape[1:])), np.cumsum(data, axis=0, dtype=np.float64)])
    return ((sums[starts + thick] - sums[starts]) / thick).astype(np.float32)
