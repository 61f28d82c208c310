"""Brain mask of a skull-stripped scan: what is brighter than the background, in one piece, without holes."""

import numpy as np
from scipy import ndimage

from semcycle.errors import BrainMaskError
from semcycle.types import VoxelMask
from semcycle.volume import Volume

MIN_ML = 50.0
"""Less than this is no brain (a whole one has 900 to 2000 ml with its outer CSF)."""
MAX_ML = 2300.0
"""More than this is a head, or a scan whose air is not zero."""


def background_level(volume: Volume) -> float:
    """Intensity of the emptied surroundings: the median over the six faces of the scan."""
    faces = [np.take(volume.data, end, axis).ravel() for axis in range(3) for end in (0, -1)]
    return float(np.median(np.concatenate(faces)))


def stripped_brain_mask(volume: Volume) -> VoxelMask:
    """Find the brain of a skull-stripped scan (ambiguity A19: T2 > 0, largest component, holes filled).

    Returns:
        ``(I, J, K)`` mask.

    Raises:
        BrainMaskError: No brain is left, or the scan does not look skull-stripped.
    """
    foreground = volume.data > background_level(volume)
    ml = foreground.sum() * volume.voxel_ml
    if ml > MAX_ML:
        msg = (
            f"{volume.source}: expected a skull-stripped scan (background exactly constant, at most {MAX_ML:.0f} ml "
            f"of brain), got {ml:.0f} ml that is not background; strip the skull first, or give a brain mask"
        )
        raise BrainMaskError(msg)
    mask = clean_mask(foreground)
    ml = mask.sum() * volume.voxel_ml
    if ml < MIN_ML:
        msg = f"{volume.source}: expected a brain of at least {MIN_ML:.0f} ml, got {ml:.1f} ml; the scan looks empty"
        raise BrainMaskError(msg)
    return mask


def clean_mask(mask: VoxelMask) -> VoxelMask:
    """Keep the largest face-connected component and fill what it encloses."""
    if not mask.any():
        return mask
    box = tuple(slice(max(s.start - 1, 0), s.stop + 1) for s in ndimage.find_objects(mask.astype(np.uint8))[0])
    inner = np.pad(_largest_component(mask[box]), 1)
    outside = np.zeros_like(inner)
    labels, _ = ndimage.label(~inner)
    outside = labels == labels[0, 0, 0]
    clean = np.zeros_like(mask)
    clean[box] = ~outside[1:-1, 1:-1, 1:-1]
    return clean


def _largest_component(mask: VoxelMask) -> VoxelMask:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())
