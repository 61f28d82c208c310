"""Brain masks: that of a skull-stripped scan (what is not background), and whether a mask is plausible."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from semcycle.errors import BrainMaskError
from semcycle.types import VoxelMask
from semcycle.volume import Volume, ras_spacing, to_ras
from semcycle.volume.masks import bounding_box, values_inside
from semcycle.volume.slabs import thin_out

MIN_ML = 50.0
"""Less than this is no brain (a whole one has 900 to 2000 ml with its outer CSF)."""
MAX_ML = 2300.0
"""More than this is a head, or a scan whose air is not zero."""
PLAUSIBLE_ML = (800.0, 2200.0)
"""Adult brains with their CSF."""
MIN_SYMMETRY = 0.85
"""Dice of a mask and its mirror image; good masks of upright heads have 0.93 and more."""


FAINT = 0.1
"""Share of the tissue's intensity below which a voxel may belong to a background that is not one value."""
MAX_FAINT = 0.08
"""Share of faint voxels that a brain on a constant background may have: 18 real ones had up to .04, resampled ones .15
and more."""
EDGE = 0.2
"""Share of the tissue's intensity up to which a voxel beside such a background is none of the brain: of six scans with
noise around them 2 to 4 % of the brain are darker, of those that were smoothed by 1 mm as much is added."""
MAX_SMEARED = 0.045
"""Share of what is brighter than ``FAINT`` that may be darker than three times that: 7 scans had up to .03, smoothed by
1.4 mm .05."""
MAX_SKULL = 0.06
"""Between the dark shares of brains and of heads, see :func:`skull_share`."""
MAX_BELOW = 0.25
"""Share of the brain that may lie below the background: a few wrapped or ringing voxels do."""
MIN_EMPTY = 0.2
"""Share of a scan from which on exactly one value is an emptied background."""
MAX_EMPTY = 0.5
"""Share of a brain mask that may be background."""
MIN_FIT = 0.85
"""Dice of a mask and what a stripped scan shows; masks of another brain in the same space have less."""
MAX_MOVED = 0.02
"""Of the brain's median that taking a background for padding may move black by without a remark."""
MAX_DARKEST = 0.5
"""Of the brain's median, above black: its darkest voxels lie below that."""
_STANDARDISED = "z-scored within its brain mask, it has lost its black level"


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


@dataclass(frozen=True)
class Background:
    """What surrounds the head or brain in a scan.

    Attributes:
        level: Its intensity: the median over the six faces of the scan.
        tolerance: How far from it a voxel still counts as background; 0 where the background is exactly one value.
        tissue: Typical intensity of what is not background, above ``level``.
    """

    level: float
    tolerance: float
    tissue: float

    def leaves(self, volume: Volume) -> VoxelMask:
        """``(I, J, K)`` what is brighter than the background, or so much darker that it is no ringing of a spline."""
        above = volume.data - np.float32(self.level)
        return np.asarray((above > self.tolerance) | (above < -max(self.tolerance, 0.5 * self.tissue)))


def find_background(volume: Volume) -> Background:
    """Measure the background of a scan.

    Resampling rings around a brain, editors leave voxels of 1, and some tools add noise: where more than ``MAX_FAINT``
    of what differs from the background is fainter than ``FAINT`` of the tissue, that much counts as background too.
    """
    faces = [np.moveaxis(volume.data, axis, 0)[end].ravel() for axis in range(3) for end in (0, -1)]
    level = float(np.median(np.concatenate(faces)))
    away = np.abs(thin_out(volume.data) - np.float32(level))
    top = float(np.percentile(away, 99.5))
    clear = away > FAINT * top
    if not clear.any():
        return Background(level, 0.0, 0.0)
    tissue = float(np.median(values_inside(away, clear)))
    faint = np.count_nonzero((away > 0) & (away <= FAINT * tissue))
    tolerance = EDGE * tissue if faint > MAX_FAINT * np.count_nonzero(away) else 0.0
    return Background(level, tolerance, tissue)


def stripped_brain_mask(volume: Volume, background: Background | None = None) -> VoxelMask:
    """Find the brain of a skull-stripped scan (ambiguity A19: what is not background, largest component, holes filled).

    Args:
        volume: The scan.
        background: Of a scan that is known to look stripped; measured and checked without.

    Returns:
        ``(I, J, K)`` mask.

    Raises:
        BrainMaskError: No brain is left, or the scan does not look skull-stripped.
    """
    checked = background is not None
    background = background or find_background(volume)
    foreground = background.leaves(volume)
    if not checked and not looks_stripped(volume, background):
        ml = foreground.sum() * volume.voxel_ml
        msg = (
            f"{volume.source}: expected a skull-stripped scan (one background, at most {MAX_ML:.0f} ml of brain, no "
            f"dark shell of bone below its surface), got {ml:.0f} ml that is not background; strip the skull first, or "
            "give a brain mask"
        )
        raise BrainMaskError(msg)
    if background.tolerance:  # what the tolerance left of ringing hangs on the brain by single voxels
        foreground = ndimage.binary_opening(foreground)
    mask = clean_mask(foreground)
    ml = mask.sum() * volume.voxel_ml
    if ml < MIN_ML:
        msg = f"{volume.source}: expected a brain of at least {MIN_ML:.0f} ml, got {ml:.1f} ml; the scan looks empty"
        raise BrainMaskError(msg)
    return mask


def judge_edge(volume: Volume, background: Background) -> list[str]:
    """Whether the brain of a stripped scan fades into its background, as after smoothing; what is doubtful then."""
    above = np.abs(thin_out(volume.data) - np.float32(background.level))
    bright = above > FAINT * background.tissue
    share = np.count_nonzero(bright & (above < 3 * FAINT * background.tissue)) / np.count_nonzero(bright)
    if not background.tolerance or share <= MAX_SMEARED:
        return []
    return [f"the brain's edge is smeared ({share:.0%} of the scan is a shade of it); its volume may be too large"]


def looks_stripped(volume: Volume, background: Background) -> bool:
    """Whether so much of the scan is background that the rest can be a brain, and that rest has no skull in it."""
    small = background.leaves(volume).sum() * volume.voxel_ml <= MAX_ML
    return bool(small and skull_share(volume, background) <= MAX_SKULL)


def skull_share(volume: Volume, background: Background) -> float:
    """Share of dark voxels 5 to 15 mm below the surface of what is not background, measured within axial slices.

    Bone is dark and lies there all around a head, of any size and in any slab of it; a brain has nothing dark there. Of
    43 scans looked at, stripped T2 scans had at most .026, a stripped T1 .046, heads .08 to .52.
    """
    spacing = ras_spacing(volume.affine)
    steps = [max(1, round(coarse / side)) for coarse, side in zip((2.0, 2.0, 5.0), spacing, strict=True)]
    data = to_ras(volume.data, volume.affine)[tuple(slice(None, None, step) for step in steps)]
    sides = [step * side for step, side in zip(steps, spacing, strict=True)]
    bright = np.pad(data - np.float32(background.level) > 0.15 * background.tissue, ((4, 4), (4, 4), (0, 0)))
    plane = np.zeros((3, 3, 3), bool)
    plane[:, :, 1] = ndimage.generate_binary_structure(2, 1)
    whole = ndimage.binary_fill_holes(ndimage.binary_closing(bright, plane, iterations=3), plane)
    depth = ndimage.distance_transform_edt(whole, sampling=(sides[0], sides[1], 1e6))[4:-4, 4:-4]
    dark = data - np.float32(background.level) < 0.25 * background.tissue
    shells = [(depth > near) & (depth <= near + 5) for near in (5, 10)]
    return max(float(dark[shell].mean()) if shell.any() else 0.0 for shell in shells)


def black_level(volume: Volume, brain: VoxelMask, background: Background, *, stripped: bool) -> tuple[float, list[str]]:
    """The intensity that becomes 0: that of the background, unless the background is padding or was never emptied.

    Args:
        volume: The scan.
        brain: ``(I, J, K)`` mask, not empty.
        background: Of the scan.
        stripped: Whether everything outside the brain was set to the background.

    Returns:
        The intensity, and what is doubtful about it.

    Raises:
        BrainMaskError: The brain lies on both sides of its background, as after z-scoring: what was black is unknown;
            or below it.
    """
    values = values_inside(volume.data, brain)
    low = float(np.percentile(values, 0.1))
    emptied = stripped or _share_at(background.level, volume, ~brain) > 0.9
    # padding is -1 or -1024, what a scan's standardisation left of its air is -0.4537
    padded = background.level < 0 <= low and background.level.is_integer()
    black = 0.0 if padded or (not emptied and background.level > 0) else background.level
    below = float(np.mean(values < black))
    if below > MAX_BELOW:
        why = (
            "the background is padding, or the scan is inverted; set what surrounds the brain to its darkest value"
            if below > 1 - MAX_BELOW
            else f"{_STANDARDISED}; check the normalisation, or leave it out"
        )
        msg = (
            f"{volume.source}: expected a brain brighter than its background ({black:g}), got {below:.0%} of it below: "
            f"{why}"
        )
        raise BrainMaskError(msg)
    middle = float(np.median(values))
    unsure = padded and -background.level > MAX_MOVED * middle
    if unsure and low - background.level < MAX_DARKEST * (middle - background.level):
        return black, [f"the background of {background.level:g} was taken for padding, and 0 for black: check both"]
    return black, []


def check_levels(volume: Volume, background: Background) -> None:
    """Refuse a scan, with or without its skull, of which much is darker than its emptied background.

    Args:
        volume: The scan.
        background: Of the scan.

    Raises:
        BrainMaskError: As after z-scoring within a mask.
    """
    away = thin_out(volume.data) - np.float32(background.level)
    inside = values_inside(away, away != 0)
    if inside.size > (1 - MIN_EMPTY) * away.size:
        return
    below = float(np.mean(inside < -FAINT * background.tissue))
    if below > MAX_BELOW and float(np.mean(inside > FAINT * background.tissue)) > MAX_FAINT:
        msg = (
            f"{volume.source}: expected a scan brighter than its background ({background.level:g}), got {below:.0%} of "
            f"it darker: {_STANDARDISED}; check the normalisation, or leave it out"
        )
        raise BrainMaskError(msg)


def check_fit(mask: VoxelMask, volume: Volume, background: Background) -> list[str]:
    """Compare a mask that was given with a scan whose surroundings were emptied.

    Args:
        mask: ``(I, J, K)``, not empty.
        volume: The scan.
        background: Of the scan.

    Returns:
        What is doubtful.

    Raises:
        BrainMaskError: Most of it is background: inverted, of another scan, or the whole grid.
    """
    empty = volume.data == np.float32(background.level)
    if np.mean(empty) < MIN_EMPTY:
        return []
    share = float(np.mean(empty[mask]))
    if share > MAX_EMPTY:
        msg = (
            f"{volume.source}: expected a brain mask of its brain, got one of which {share:.0%} is background: "
            "inverted, of another scan, or of the whole grid; check the mask"
        )
        raise BrainMaskError(msg)
    if not looks_stripped(volume, background):
        return []
    own = background.leaves(volume)
    dice = 2 * float(np.count_nonzero(own & mask)) / float(np.count_nonzero(own) + np.count_nonzero(mask))
    if dice >= MIN_FIT:
        return []
    return [f"the brain mask that was given is not where the stripped scan has voxels: Dice {dice:.2f}"]


def _share_at(level: float, volume: Volume, mask: VoxelMask) -> float:
    """Of a mask's voxels, how many have exactly one intensity."""
    return float(np.count_nonzero((volume.data == level) & mask) / max(int(np.count_nonzero(mask)), 1))


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
    pieces = _largest_component(mask[_box(mask)]).sum() / mask.sum()
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
    box = _box(mask)
    inner = np.pad(_largest_component(mask[box]), 1)
    outside = np.zeros_like(inner)
    labels, _ = ndimage.label(~inner)
    outside = labels == labels[0, 0, 0]
    clean = np.zeros_like(mask)
    clean[box] = ~outside[1:-1, 1:-1, 1:-1]
    return clean


def _box(mask: VoxelMask) -> tuple[slice, ...]:
    """What holds a mask that is not empty, with a margin of a voxel."""
    return tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in bounding_box(mask) or ())


def _largest_component(mask: VoxelMask) -> VoxelMask:
    labels, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == sizes.argmax())
