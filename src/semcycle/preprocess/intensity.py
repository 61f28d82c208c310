"""Intensity: scans come in arbitrary units, methods work in [0, 1]."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import VolumeError
from semcycle.types import VoxelArray, VoxelMask
from semcycle.volume import Volume

MEDIAN_LEVEL = 0.35
"""Where ``median`` puts the brain's median: T2 CSF and lesions reach 1.2 to 2.5 times the median, so they fit."""


@dataclass(frozen=True)
class IntensityScale:
    """The decision how one scan's units map to [0, 1].

    Attributes:
        zero: Scanner units that become 0 (the background's level).
        unit: Scanner units above ``zero`` that become 1; brighter is clipped.
    """

    zero: float
    unit: float

    def forward(self, data: NDArray[Any]) -> VoxelArray:
        """Scanner units -> [0, 1], clipped."""
        return np.clip((np.asarray(data, np.float32) - self.zero) / self.unit, 0, 1).astype(np.float32)

    def inverse(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """[0, 1] -> scanner units."""
        return (np.asarray(values, np.float32) * self.unit + self.zero).astype(np.float32)


def fit_scale(
    volume: Volume, brain: VoxelMask, zero: float, method: str, percentile: float, scope: str
) -> IntensityScale:
    """Decide the intensity scale of a scan (ambiguity A18).

    Args:
        volume: The scan.
        brain: ``(I, J, K)`` mask, not empty.
        zero: The background's level.
        method: ``"percentile"``: that percentile becomes 1 (the reference code clips at the 99.8th);
            ``"median"``: the median becomes ``MEDIAN_LEVEL``, steadier where a lesion fills the top percentiles.
        percentile: Which one, in (0, 100].
        scope: ``"brain"``: over the brain's voxels; ``"volume"``: over all voxels, as the reference code does.

    Raises:
        VolumeError: The brain has no contrast.
    """
    values = volume.data[brain] if scope == "brain" else volume.data.ravel()
    if method == "median":
        unit = (float(np.median(values)) - zero) / MEDIAN_LEVEL
    else:
        unit = float(np.percentile(values, percentile)) - zero
    if not unit > 0 or np.ptp(volume.data[brain]) == 0:
        msg = (
            f"{volume.source}: expected intensities above the background ({zero:g}) in the brain, got none; check the "
            "scan"
        )
        raise VolumeError(msg)
    return IntensityScale(zero, unit)
