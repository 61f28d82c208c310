"""Confounders: what is harmless and looks like a lesion; drawn into the scan and into its clean twin alike.

Pulsating or stagnant fluid at the base, dark voids of fast blood, the plexus in the ventricles, first and last slices
of another brightness, and bits of eye or skin that skull stripping left at the rim.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.store.anomalies.canvas import Canvas, sigmoid
from semcycle.types import SliceArray, SliceMask, Spacing
from semcycle.volume.masks import bounding_box


def change_fluid(canvas: Canvas) -> None:
    """Make the fluid of a region, mostly in the lower half of the head, brighter or darker."""
    rng, box = canvas.rng, bounding_box(canvas.brain)
    if box is None:
        return
    centre = np.array([rng.uniform(side.start, side.stop) for side in box])
    if rng.random() < 0.7:
        centre[0] = box[0].start + rng.uniform(0, 0.45) * (box[0].stop - box[0].start)
    dz, dy, dx = canvas.distances(box, centre)
    region = np.exp(
        -((dz / rng.uniform(10, 30)) ** 2) - (dy / rng.uniform(15, 50)) ** 2 - (dx / rng.uniform(15, 50)) ** 2
    )
    fluid = sigmoid((canvas.clean[box] - 0.5 * (canvas.median + canvas.fluid)) / (0.08 * canvas.median))
    factor = rng.uniform(1.1, 1.6) if rng.random() < 0.6 else rng.uniform(0.35, 0.85)
    canvas.clean[box] = np.clip(canvas.clean[box] * (1 + (factor - 1) * region * fluid), 0, 1)


def draw_vessels(canvas: Canvas) -> None:
    """One to six thin dark or bright tubes near the brain's edge or in fluid."""
    rng = canvas.rng
    fluid = canvas.brain & (canvas.clean > 0.5 * (canvas.median + canvas.fluid))
    for _ in range(rng.integers(1, 7)):
        start = canvas.pick(fluid if fluid.any() else canvas.brain)
        if start is None:
            return
        heading = rng.normal(0, 1, 3)
        steps = rng.normal(0, 0.35, (int(rng.integers(8, 30)), 3)).cumsum(axis=0) + heading / np.linalg.norm(heading)
        steps /= np.linalg.norm(steps, axis=1, keepdims=True)
        path = np.round(start + (1.5 * steps).cumsum(axis=0) / np.array(canvas.spacing)).astype(int)
        path = path[((path >= 0) & (path < canvas.clean.shape)).all(axis=1)]
        if not len(path):
            continue
        low = np.maximum(path.min(axis=0) - 3, 0)
        high = np.minimum(path.max(axis=0) + 4, canvas.clean.shape)
        tube = np.zeros(tuple(high - low), np.float32)
        tube[tuple((path - low).T)] = 1
        width = rng.uniform(0.6, 1.3) / np.array(canvas.spacing)
        tube = ndimage.gaussian_filter(tube, width)
        tube = np.minimum(1, tube / max(float(tube.max()), 1e-6) * 1.5)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        level = canvas.median * (rng.uniform(0.1, 0.5) if rng.random() < 0.8 else rng.uniform(1.4, 2.2))
        canvas.clean[box] += rng.uniform(0.4, 1) * tube * canvas.brain[box] * (level - canvas.clean[box])


def draw_plexus(canvas: Canvas) -> None:
    """One to four grey, textured pieces of 2 to 6 mm within fluid away from the brain's edge."""
    rng = canvas.rng
    depth = max(1, round(15 / canvas.spacing[1]))
    inner = ndimage.minimum_filter(canvas.brain, size=(1, 2 * depth + 1, 2 * depth + 1))
    where = inner & (canvas.clean > 0.5 * (canvas.median + canvas.fluid))
    for _ in range(rng.integers(1, 5)):
        centre = canvas.pick(where)
        if centre is None:
            return
        radius = rng.uniform(2, 6)
        box = canvas.box(centre, 2 * radius)
        dz, dy, dx = canvas.distances(box, centre)
        distance = np.sqrt((dz / radius) ** 2 + (dy / (radius * rng.uniform(0.5, 1.5))) ** 2 + (dx / radius) ** 2)
        weight = sigmoid((1 - distance + 0.4 * canvas.noise(distance.shape, 3)) / 0.25) * where[box]
        level = canvas.median * rng.uniform(0.8, 1.5) * (1 + 0.15 * canvas.noise(distance.shape, 2))
        canvas.clean[box] = np.clip(canvas.clean[box] + weight * (level - canvas.clean[box]), 0, 1)


def change_ends(canvas: Canvas) -> None:
    """Make the first or the last slices brighter, darker or blurred, as at the ends of a slab."""
    rng, box = canvas.rng, bounding_box(canvas.brain)
    if box is None:
        return
    height = np.arange(len(canvas.clean), dtype=np.float32)
    from_end = height - box[0].start if rng.random() < 0.6 else box[0].stop - 1 - height
    share = np.exp(-((np.maximum(from_end, 0) * canvas.spacing[0] / rng.uniform(3, 12)) ** 2))[:, None, None]
    if rng.random() < 0.4:
        blurred = ndimage.gaussian_filter(canvas.clean, (0, *[rng.uniform(1, 4) / canvas.spacing[1]] * 2))
        canvas.clean += share * (blurred - canvas.clean) * canvas.brain
    canvas.clean[:] = np.clip(canvas.clean * (1 + share * rng.uniform(-0.4, 0.6)), 0, 1)


CONFOUNDERS = {
    "fluid": (change_fluid, 0.6),
    "vessels": (draw_vessels, 0.4),
    "plexus": (draw_plexus, 0.35),
    "ends": (change_ends, 0.3),
}
"""Name -> what it draws into ``canvas.clean``, and the probability that a scan has it."""


def add_rim(
    image: SliceArray, brain: SliceMask, spacing: Spacing, rng: np.random.Generator
) -> tuple[SliceArray, SliceMask]:
    """Leave one to four bits of eye, nose or skin of 4 to 16 mm on the outside of the brain, mostly low in the head.

    Returns:
        Scan and brain mask, both with the bits.
    """
    box = bounding_box(brain)
    if box is None:
        return image, brain
    image, brain = image.copy(), brain.copy()
    median = float(np.median(image[brain]))
    for _ in range(rng.integers(1, 5)):
        top = box[0].start + rng.uniform(0.05, 0.5 if rng.random() < 0.75 else 1) * (box[0].stop - box[0].start)
        height = int(np.clip(top, box[0].start, box[0].stop - 1))
        edge = np.argwhere(brain[height] ^ ndimage.binary_dilation(brain[height]))
        if not len(edge):
            continue
        row, column = edge[rng.integers(len(edge))]
        radius = rng.uniform(4, 16)
        bit = (
            _ellipsoid(image.shape, (height, int(row), int(column)), radius * rng.uniform(0.5, 1.3, 3), spacing)
            & ~brain
        )
        texture = ndimage.gaussian_filter(rng.standard_normal(image.shape[1:]).astype(np.float32), rng.uniform(0.7, 3))
        texture = 1 + rng.uniform(0.05, 0.4) * texture / max(float(texture.std()), 1e-3)
        grey = median * rng.uniform(0.3, 2.4) * np.broadcast_to(texture, image.shape)
        image[bit] = np.clip(grey[bit], 0.02, 1)
        brain |= bit
    return image, brain


def _ellipsoid(
    shape: tuple[int, ...], centre: tuple[int, int, int], radii: NDArray[np.floating], spacing: Spacing
) -> SliceMask:
    lines = [
        ((np.arange(size) - at) * step / radius) ** 2
        for size, at, step, radius in zip(shape, centre, spacing, radii, strict=True)
    ]
    return np.asarray(lines[0][:, None, None] + lines[1][:, None] + lines[2] <= 1)
