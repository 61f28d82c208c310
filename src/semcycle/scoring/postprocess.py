"""Post-processing of residuals, as named presets, so that every score says what was done to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from semcycle.errors import ScoringError
from semcycle.scoring.anomaly_map import AnomalyMap, Reconstructed, Sign, residual
from semcycle.types import SliceArray, SliceMask


@dataclass(frozen=True)
class PostProcessing:
    """Steps from a reconstruction to an anomaly map, in this order.

    Attributes:
        sign: Absolute residual, or only what is brighter than reconstructed.
        erode_mm: The residual is set to 0 within this distance (city block, in the slice) of the brain's edge.
        prior_quantile: The residual is set to 0 where the image is darker than this quantile, ``None`` for never.
        prior_scope: Whether the quantile is over the brain, or over whole slices with their background.
        median_size: Side in voxels of the cubic 3-D median filter, odd; 1 for none.
    """

    sign: Sign = "absolute"
    erode_mm: float = 0.0
    prior_quantile: float | None = None
    prior_scope: Literal["volume", "brain"] = "volume"
    median_size: int = 1


PRESETS = {
    # Eq. 5 of the paper in the brain, nothing else
    "literal": PostProcessing(),
    # defaults of the reference code of Baur et al.: 12 pixels of erosion at 128 pixels over 240 mm are 22.5 mm
    "baur": PostProcessing("positive", erode_mm=22.5, prior_quantile=0.9, prior_scope="volume", median_size=5),
}
"""Name -> post-processing (ambiguities A20 and A21)."""


def make_anomaly_map(
    x: SliceArray,
    made: Reconstructed,
    brain: SliceMask,
    preset: str | PostProcessing,
    pixel_mm: float,
) -> AnomalyMap:
    """Turn a reconstruction into an anomaly map.

    Args:
        x: ``(S, H, W)`` in [0, 1]; neighbouring slices, from foot to head.
        made: Its reconstruction; a score of the method's own takes the place of the residual.
        brain: ``(S, H, W)``.
        preset: Key of ``PRESETS``, or steps of one's own.
        pixel_mm: Side of a pixel in mm.

    Raises:
        ScoringError: No preset has this name.
    """
    if isinstance(preset, str) and preset not in PRESETS:
        msg = f"expected a preset of {', '.join(PRESETS)}, got {preset!r}"
        raise ScoringError(msg)
    steps = PRESETS[preset] if isinstance(preset, str) else preset
    scores = residual(x, made.image, steps.sign) if made.score is None else np.asarray(made.score, np.float32)
    scores = np.where(_erode(brain, round(steps.erode_mm / pixel_mm)), scores, np.float32(0))
    if steps.prior_quantile is not None:
        level = np.quantile(x[brain] if steps.prior_scope == "brain" else x, steps.prior_quantile)
        scores = np.where(x < level, np.float32(0), scores)
    scores = np.where(brain, _median(scores, brain, steps.median_size), np.float32(0))
    return AnomalyMap(scores.astype(np.float32), brain, preset if isinstance(preset, str) else "custom")


def _erode(brain: SliceMask, pixels: int) -> SliceMask:
    """Erode every slice ``pixels`` times with a cross of four neighbours: the city-block distance to outside."""
    if pixels <= 0:
        return brain
    padded = np.pad(brain, ((0, 0), (1, 1), (1, 1)))
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    return np.asarray(ndimage.binary_erosion(padded, cross, iterations=pixels)[:, 1:-1, 1:-1])


def _median(scores: SliceArray, brain: SliceMask, size: int) -> SliceArray:
    """3-D median within the brain's bounding box, zeros around it."""
    if size <= 1 or not brain.any():
        return scores
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    radius = size // 2
    image = sitk.GetImageFromArray(np.pad(scores[box], radius))
    filtered = sitk.GetArrayFromImage(sitk.Median(image, [radius] * 3))
    inner = (slice(radius, -radius),) * 3
    result = np.zeros_like(scores)
    result[box] = filtered[inner]
    return result
