"""The steps from a scan to working slices, as one recorded and invertible decision."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from semcycle.config import Config
from semcycle.errors import BrainMaskError
from semcycle.preprocess.bias import fit_bias
from semcycle.preprocess.brain_mask import (
    BrainRecord,
    background_level,
    check_mask,
    clean_mask,
    looks_stripped,
    stripped_brain_mask,
)
from semcycle.preprocess.geometry import WorkingGrid, fit_grid
from semcycle.preprocess.intensity import IntensityScale, fit_scale
from semcycle.types import SliceArray, SliceMask, VoxelArray, VoxelMask
from semcycle.volume import Volume


class PreprocessSettings(Config):
    """How scans become slices. A store and the runs trained on it carry these settings."""

    modality: str = "t2"
    """Which image of a case is used."""
    size: int = Field(128, ge=16, le=1024, multiple_of=16)
    """Pixels along both sides of a slice."""
    pixel_mm: float = Field(1.875, gt=0)
    """Side of a pixel in mm; 128 of them span the 240 mm field of BraTS (A17)."""
    slices: tuple[int, int] | None = None
    """Window of axial slices FIRST:LAST from the foot, LAST excluded, that a store keeps (A15: 20:130 of BraTS' 155);
    none keeps all. Predictions always cover every slice with brain."""
    bias: Literal["none", "n4"] = "none"
    """Whether a smooth bias field is taken out before the intensity is scaled."""
    intensity: Literal["percentile", "median"] = "percentile"
    """What fixes the intensity scale (A18)."""
    percentile: float = Field(99.8, gt=0, le=100)
    """The percentile that becomes 1."""
    intensity_scope: Literal["brain", "volume"] = "brain"
    """Whether the percentile is taken in the brain or over the whole scan (A18)."""

    @field_validator("slices", mode="before")
    @classmethod
    def _read_window(cls, value: Any) -> Any:
        """A window may be written as text: ``20:130``."""
        window = [int(word) for word in value.split(":") if word.isdigit()] if isinstance(value, str) else value
        if window is not None and not (len(window) == 2 and 0 <= window[0] < window[1]):
            msg = "expected FIRST:LAST, slices from the foot, FIRST below LAST"
            raise ValueError(msg)
        return window


@dataclass(frozen=True)
class PreprocessRecord:
    """Everything decided for one scan; enough to bring slices back to its grid and units."""

    grid: WorkingGrid
    scale: IntensityScale
    brain: BrainRecord
    bias_range: tuple[float, float] | None
    """5th and 95th percentile of the bias field in the brain; ``None`` where it was not corrected."""

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return asdict(self)


@dataclass(frozen=True)
class Prepared:
    """A scan on the working grid.

    Attributes:
        image: ``(S, H, W)`` in [0, 1], 0 outside the brain.
        brain: ``(S, H, W)``.
        brain_native: ``(I, J, K)``.
        record: How it came about.
        bias_field: ``(I, J, K)`` factors the scan was divided by, or ``None``.
    """

    image: SliceArray
    brain: SliceMask
    brain_native: VoxelMask
    record: PreprocessRecord
    bias_field: VoxelArray | None = None

    def to_scanner(self, slices: NDArray[Any]) -> VoxelArray:
        """Bring ``(S, H, W)`` intensities in [0, 1] to the scan's grid, units and bias field."""
        native = self.record.scale.inverse(self.to_native(slices))
        return native if self.bias_field is None else native * self.bias_field

    def to_native(self, slices: NDArray[Any]) -> VoxelArray:
        """Bring ``(S, H, W)`` back to the scan's grid, 0 outside the brain."""
        return np.where(self.brain_native, self.record.grid.inverse(slices), np.float32(0))


def preprocess(volume: Volume, settings: PreprocessSettings, brain: VoxelMask | None = None) -> Prepared:
    """Bring a scan to the working grid.

    Args:
        volume: The scan in its own space.
        settings: How.
        brain: ``(I, J, K)`` brain mask; ``None`` finds it: what is not background in a skull-stripped scan, BET
            in one with its skull.

    Raises:
        BrainMaskError: No brain, or a scan with its skull and no means to strip it.
        GeometryError: The brain does not fit the window.
        VolumeError: The brain has no contrast.
    """
    brain, zero, method = _find_brain(volume, brain)
    checked = check_mask(brain, volume, method)
    field, bias_range = None, None
    if settings.bias == "n4":
        field = fit_bias(volume.data - zero, volume.spacing, brain)
        low, high = np.percentile(field[brain], [5, 95])
        volume = replace(volume, data=(volume.data - zero) / field + zero)
        bias_range = (round(float(low), 4), round(float(high), 4))
    grid = fit_grid(volume, brain, settings.size, settings.pixel_mm)
    scale = fit_scale(volume, brain, zero, settings.intensity, settings.percentile, settings.intensity_scope)
    image = grid.forward(np.where(brain, scale.forward(volume.data), np.float32(0)))
    mask = grid.forward(brain) > 0.5
    record = PreprocessRecord(grid, scale, checked, bias_range)
    return Prepared(np.where(mask, image, np.float32(0)), mask, brain, record, field)


def _find_brain(volume: Volume, given: VoxelMask | None) -> tuple[VoxelMask, float, str]:
    """Brain mask, intensity of the background, and where the mask came from."""
    if given is not None:
        brain = clean_mask(given)
        if not brain.any():
            msg = f"{volume.source}: expected a brain mask with voxels inside, got an empty one; check the mask"
            raise BrainMaskError(msg)
        return brain, 0.0, "given"
    if looks_stripped(volume):
        return stripped_brain_mask(volume), background_level(volume), "stripped"
    from semcycle.preprocess.skull import strip_skull  # pulls in ANTs and numba

    return strip_skull(volume), 0.0, "bet"
