"""Shapes of lesions as soft masks: rough ellipsoids, wedges to the cortex, parts of a lobe, and shapes of real lesions.

A soft mask has 1 inside, 0 outside and an edge as wide as the lesion is blurred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import StoreError
from semcycle.store.anomalies.canvas import Canvas, sigmoid
from semcycle.types import Box
from semcycle.volume import is_scan, load_volume, to_ras
from semcycle.volume.masks import bounding_box, label_components

CELLS_MM = 1.0
"""Voxel size of library shapes."""


def draw_blob(
    canvas: Canvas, centre: NDArray[np.intp], radius_mm: float, *, rough: float, edge: float
) -> tuple[Box, NDArray[np.float32], NDArray[np.float32]]:
    """A rough ellipsoid, turned at random in the slice.

    Args:
        canvas: Gives grid and random numbers.
        centre: Voxel.
        radius_mm: Mean radius; the axes are 0.65 to 1.4 times as long.
        rough: Depth of the dents of the surface, in radii.
        edge: Width of the edge, in radii.

    Returns:
        Box, soft mask, and distance from the centre in radii.
    """
    box = canvas.box(centre, 1.9 * radius_mm)
    dz, dy, dx = canvas.distances(box, centre)
    turn = canvas.rng.uniform(0, np.pi)
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    a, b, c = canvas.rng.uniform(0.65, 1.4, 3) * radius_mm
    distance = np.sqrt((dz / a) ** 2 + (along / b) ** 2 + (across / c) ** 2)
    dents = rough * canvas.noise(distance.shape, max(2.0, radius_mm * canvas.rng.uniform(0.3, 0.7)))
    return box, sigmoid((1 - distance + dents) / edge), distance


def draw_wedge(canvas: Canvas) -> tuple[Box, NDArray[np.float32]] | None:
    """A wedge or a part of a lobe, as of an occluded artery: a cone from the depth of a hemisphere to its surface.

    Returns:
        Box and soft mask; ``None`` where there is no brain to draw on.
    """
    rng = canvas.rng
    box = bounding_box(canvas.brain)
    target = canvas.pick(canvas.free & ~_inner(canvas))
    if box is None or target is None:
        return None
    middle = np.array([(side.start + side.stop - 1) / 2 for side in box])
    apex = middle + (target - middle) * rng.uniform(0.05, 0.45)
    apex[0] = target[0] + rng.uniform(-10, 10) / canvas.spacing[0]
    axis = (target - apex) * np.array(canvas.spacing)
    length = max(float(np.linalg.norm(axis)), 1.0)
    distances = canvas.distances(box, apex)
    from_apex = np.sqrt(sum(part**2 for part in distances))
    along = sum(part * step for part, step in zip(distances, axis / length, strict=True))
    angle = np.degrees(np.arccos(np.clip(along / np.maximum(from_apex, 1e-3), -1, 1)))
    angle = angle + 8 * canvas.noise(angle.shape, rng.uniform(8, 20))
    width, start = rng.uniform(12, 45), length * rng.uniform(0.0, 0.7)
    cone = sigmoid((width - angle) / rng.uniform(1, 4)) * sigmoid((from_apex - start) / rng.uniform(1, 3))
    side = 1.0 if target[2] >= middle[2] else -1.0  # an artery feeds one hemisphere
    (dx,) = canvas.distances(box, middle)[2:]
    return box, cone * sigmoid((side * dx - 2) / 1.5)


def _inner(canvas: Canvas) -> NDArray[np.bool_]:
    """The brain more than 8 mm from its edge in the slice."""
    depth = max(1, round(8 / canvas.spacing[1]))
    return np.asarray(ndimage.minimum_filter(canvas.brain, size=(1, 2 * depth + 1, 2 * depth + 1)))


@dataclass(frozen=True)
class Pattern:
    """A patient's lesions in the box around a template's brain, at 1 mm.

    Attributes:
        mask: ``(S, H, W)`` of the box around all of them.
        origin: Its first voxel in the brain's box.
        brain: Size of the brain's box.
        lesions: Boxes of the components in ``mask``, the larger first.
    """

    mask: NDArray[np.bool_]
    origin: NDArray[np.intp]
    brain: NDArray[np.intp]
    lesions: tuple[Box, ...]


def read_patterns(folder: Path, leave_out: Sequence[str] = ()) -> list[Pattern]:
    """Read lesion masks in MNI space, as shapes.

    Args:
        folder: NIfTI masks at 1 mm, all on grids of MNI space.
        leave_out: Parts of the names of files that must not be used.

    Raises:
        StoreError: No mask is there, or one has other voxels.
        VolumeError: A file is no mask that can be read.
    """
    from semcycle.volume.template import tissue_template

    tissue, affine = tissue_template(3)
    brain = bounding_box(tissue.sum(axis=0) > 0.5)
    files = sorted(path for path in folder.glob("*") if is_scan(path) and not any(n in path.name for n in leave_out))
    if not files or brain is None:
        msg = f"{folder}: expected lesion masks (NIfTI, MNI space), found none; correct the folder"
        raise StoreError(msg)
    corners = np.array([[side.start, side.stop - 1] for side in brain]) * np.diag(affine)[:3, None] + affine[:3, 3:]
    low, high = np.rint(corners.min(axis=1)).astype(int), np.rint(corners.max(axis=1)).astype(int)
    return [pattern for path in files if (pattern := _read_pattern(path, low, high - low + 1)) is not None]


def _read_pattern(path: Path, low: NDArray[np.intp], size: NDArray[np.intp]) -> Pattern | None:
    """A file's lesions within the brain's box that begins at ``low`` (mm, RAS+); ``None`` of an empty mask."""
    volume = load_volume(path)
    if not np.allclose(volume.spacing, CELLS_MM, atol=0.01):
        msg = f"{path}: expected a lesion mask at 1 mm in MNI space, got voxels of {volume.spacing}; resample it"
        raise StoreError(msg)
    data = to_ras(volume.data > 0, volume.affine)
    corners = np.array(np.meshgrid(*[(0, count - 1) for count in volume.shape])).reshape(3, -1)
    begin = low - np.rint((volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]).min(axis=1)).astype(int)
    first = np.maximum(begin, 0)
    inside = data[tuple(slice(a, b) for a, b in zip(first, begin + size, strict=True))]
    box = bounding_box(inside)
    if box is None:
        return None
    mask = np.ascontiguousarray(inside[box].transpose(2, 1, 0))  # x, y, z -> S, H, W
    origin = (first - begin + [side.start for side in box])[::-1]
    labels, sizes = label_components(mask, (CELLS_MM,) * 3)
    boxes = ndimage.find_objects(labels)
    order = np.argsort(-sizes, kind="stable")
    return Pattern(mask, origin, size[::-1].copy(), tuple(boxes[index] for index in order))


def place_pattern(
    canvas: Canvas, pattern: Pattern, *, component: int | None = None, centre: NDArray[np.intp] | None = None
) -> tuple[Box, NDArray[np.float32]] | None:
    """Bring a patient's lesions to a scan, by the box around the brain, shifted, scaled and mirrored at random.

    Args:
        canvas: The scan.
        pattern: The lesions.
        component: Only this one of them; all without.
        centre: Voxel that the component's centre comes to, in its own size; where the template has it without.

    Returns:
        Box and soft mask; ``None`` where there is no brain.
    """
    brain = bounding_box(canvas.brain)
    if brain is None:
        return None
    rng, spacing = canvas.rng, np.array(canvas.spacing)
    part = tuple(slice(0, n) for n in pattern.mask.shape) if component is None else pattern.lesions[component]
    data = pattern.mask[part].astype(np.float32)
    origin = pattern.origin + [side.start for side in part]
    if rng.random() < 0.5:
        data = data[..., ::-1]
        origin[2] = pattern.brain[2] - origin[2] - data.shape[2]
    if centre is None:
        begin = np.array([side.start for side in brain], float)
        extent = np.array([side.stop - side.start for side in brain], float)
        step = pattern.brain / extent * rng.uniform(0.88, 1.14, 3)  # template cells a voxel
        at = begin + extent / 2 + rng.normal(0, 3, 3) / spacing
        middle = pattern.brain / 2 - origin
    else:
        step = spacing / CELLS_MM * rng.uniform(0.75, 1.25)
        at, middle = centre.astype(float), np.array(data.shape) / 2
    low = np.maximum(np.floor(at - middle / step - 1), 0).astype(int)
    high = np.minimum(np.ceil(at + (np.array(data.shape) - middle) / step + 1), canvas.clean.shape).astype(int)
    if (high <= low).any():
        return None
    box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
    data = ndimage.gaussian_filter(np.pad(data, 2), np.maximum(step / 2, 0.5))
    offset = (low - at) * step + middle + 1.5
    soft = ndimage.affine_transform(data, np.diag(step), offset=offset, output_shape=tuple(high - low), order=1)
    return box, np.clip(soft, 0, 1).astype(np.float32)
