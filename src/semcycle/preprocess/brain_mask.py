"""Brain masks: of a skull-stripped scan (what is brighter than the background), and whether a mask is plausible."""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from semcycle.errors import BrainMaskError
from semcycle.types import VoxelMask
from semcycle.volume import Volume, to_ras

MIN_ML = 50.0
"""Less than this is no brain (a whole one has 900 to 2000 ml with its outer CSF)."""
MAX_ML = 2300.0
"""More than this is a head, or a scan whose air is not zero."""
PLAUSIBLE_ML = (800.0, 2200.0)
"""Adult brains with their CSF."""
MIN_SYMMETRY = 0.85
"""Dice of a mask and its mirror image; good masks of upright heads have 0.93 and more."""


@dataclass(frozen=True)
class BrainRecord:
    """Where a brain mask came from, and what is doubtful about it.

    Attributes:
        method: ``stripped`` (the scan's own non-background), ``given`` or ``bet``.
        ml: Its volume.
        symmetry: Dice of the mask and its mirror image in the left-right axis.
        warnings: What looks wrong; empty for a good mask.
    """

    method: str
    ml: float
    symmetry: float
    warnings: list[str] = field(default_factory=list)


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


def looks_stripped(volume: Volume) -> bool:
    """Whether so much of the scan is one background value that the rest can be a brain."""
    return bool((volume.data > background_level(volume)).sum() * volume.voxel_ml <= MAX_ML)


def check_mask(mask: VoxelMask, volume: Volume, method: str) -> BrainRecord:
    """Judge a mask by its volume, its pieces and its symmetry.

    Args:
        mask: ``(I, J, K)``, not empty.
        volume: The scan it belongs to.
        method: Where it came from.
    """
    ml = float(mask.sum() * volume.voxel_ml)
    ras = to_ras(mask, volume.affine)
    symmetry = _mirror_dice(ras)
    doubts = []
    if not PLAUSIBLE_ML[0] <= ml <= PLAUSIBLE_ML[1]:
        doubts.append(f"brain mask of {ml:.0f} ml (plausible: {PLAUSIBLE_ML[0]:.0f}-{PLAUSIBLE_ML[1]:.0f} ml)")
    pieces = _largest_component(mask).sum() / mask.sum()
    if pieces < 0.98:
        doubts.append(f"brain mask in pieces: the largest holds {pieces:.0%}")
    if symmetry < MIN_SYMMETRY:
        doubts.append(
            f"brain mask not symmetric: Dice with its mirror image {symmetry:.2f} (plausible: {MIN_SYMMETRY} or more)"
        )
    return BrainRecord(method, round(ml, 1), round(symmetry, 3), doubts)


def _mirror_dice(ras: VoxelMask) -> float:
    """Dice of a mask ``(I, J, K)`` in RAS+ and its mirror image about the middle of its left-right extent."""
    inside = np.flatnonzero(ras.any(axis=(1, 2)))
    cut = ras[inside[0] : inside[-1] + 1]
    return float((cut & cut[::-1]).sum() / cut.sum())


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
