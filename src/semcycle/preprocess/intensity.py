"""Intensity: scans come in arbitrary units, methods work in [0, 1] (ambiguity A18)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import VolumeError
from semcycle.types import VoxelArray, VoxelMask
from semcycle.volume import Volume, axial_axis
from semcycle.volume.masks import values_inside

MEDIAN_LEVEL = 0.35
"""Where ``median`` puts the brain's median: T2 CSF and lesions reach 1.2 to 2.5 times the median, so they fit."""
QUANTILES = 21
"""Of a reference histogram: 0, 5, ... 100 %."""


@dataclass(frozen=True)
class IntensityScale:
    """The decision how one scan's units map to [0, 1].

    Attributes:
        zero: Scanner units that become 0 (the background's level).
        unit: Scanner units above ``zero`` that become 1, brighter is clipped; or one for each slice along ``axis``.
        axis: Voxel axis of the scan along which its axial slices are stacked.
        curve: Levels in [0, 1] after that, and the levels they are moved to, both rising; ``None`` moves none.
    """

    zero: float
    unit: float | list[float]
    axis: int = 2
    curve: tuple[list[float], list[float]] | None = None

    def forward(self, data: NDArray[Any]) -> VoxelArray:
        """Scanner units ``(I, J, K)`` -> [0, 1], clipped."""
        levels = np.asarray(data, np.float32) - np.float32(self.zero)
        levels /= self._units()
        np.clip(levels, 0, 1, out=levels)
        return levels if self.curve is None else np.interp(levels, *self.curve).astype(np.float32)

    def inverse(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """[0, 1] -> scanner units ``(I, J, K)``."""
        levels = np.asarray(values, np.float32)
        if self.curve is not None:
            levels = np.interp(levels, *self.curve[::-1]).astype(np.float32)
        return (levels * self._units() + self.zero).astype(np.float32)

    def cut(self, part: slice) -> IntensityScale:
        """The scale of a part of the scan's axis K."""
        return replace(self, unit=self.unit[part]) if isinstance(self.unit, list) and self.axis == 2 else self

    def _units(self) -> float | NDArray[np.float32]:
        if not isinstance(self.unit, list):
            return self.unit
        return np.asarray(self.unit, np.float32).reshape([-1 if axis == self.axis else 1 for axis in range(3)])


def fit_scale(
    volume: Volume, brain: VoxelMask, zero: float, method: str, percentile: float, scope: str
) -> IntensityScale:
    """Decide the intensity scale of a scan.

    Args:
        volume: The scan.
        brain: ``(I, J, K)`` mask, not empty.
        zero: The background's level.
        method: ``"percentile"``: that percentile becomes 1 (the reference code clips at the 99.8th);
            ``"median"``: the median becomes ``MEDIAN_LEVEL``, steadier where a lesion fills the top percentiles.
        percentile: Which one, in (0, 100].
        scope: ``"brain"``: over the brain's voxels; ``"volume"``: over all voxels, as the reference code does;
            ``"slice"``: over the brain of each axial slice, by itself. A slice without anything above the background
            stays 0.

    Raises:
        VolumeError: The brain has no contrast.
    """

    def unit(values: NDArray[np.float32]) -> float:
        if method == "median":
            return (float(np.median(values)) - zero) / MEDIAN_LEVEL
        return float(np.percentile(values, percentile)) - zero

    values = values_inside(volume.data, brain)
    whole = unit(volume.data.ravel(order="K") if scope == "volume" else values)
    if not whole > 0 or np.ptp(values) == 0:
        msg = (
            f"{volume.source}: expected intensities above the background ({zero:g}) in the brain, got none; check the "
            "scan"
        )
        raise VolumeError(msg)
    if scope != "slice":
        return IntensityScale(zero, whole)
    axis = axial_axis(volume.affine)
    slices = zip(np.moveaxis(volume.data, axis, 0), np.moveaxis(brain, axis, 0), strict=True)
    units = [unit(data[inside]) if inside.any() else 0.0 for data, inside in slices]
    return IntensityScale(zero, [unit if unit > 0 else whole for unit in units], axis)


def match_histogram(scale: IntensityScale, values: NDArray[np.float32], reference: Sequence[float]) -> IntensityScale:
    """Extend a scale so that the quantiles of a brain become those of a reference.

    Args:
        scale: Without a curve.
        values: ``(N,)`` of the brain, on that scale.
        reference: Rising levels in [0, 1], quantiles at equal steps from 0 to 100 %.
    """
    own, first = np.unique(quantiles(values, len(reference)), return_index=True)  # equal levels have no way back
    return replace(scale, curve=(own.tolist(), np.asarray(reference, float)[first].tolist()))


def quantiles(values: NDArray[Any], count: int = QUANTILES) -> NDArray[np.float64]:
    """``(count,)`` quantiles at equal steps from 0 to 100 %."""
    return np.asarray(np.quantile(np.asarray(values, np.float64), np.linspace(0, 1, count)), np.float64)
