"""The steps from a scan to working slices, as one recorded and invertible decision."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from semcycle.errors import BrainMaskError
from semcycle.preprocess.brain_mask import background_level, clean_mask, stripped_brain_mask
from semcycle.preprocess.geometry import WorkingGrid, fit_grid
from semcycle.preprocess.intensity import IntensityScale, fit_scale
from semcycle.types import SliceArray, SliceMask, VoxelArray, VoxelMask
from semcycle.volume import Volume


class PreprocessSettings(BaseModel):
    """How scans become slices. A store and the runs trained on it carry these settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    modality: str = "t2"
    """Which image of a case is used."""
    size: int = Field(128, ge=16, le=1024, multiple_of=16)
    """Pixels along both sides of a slice."""
    pixel_mm: float = Field(1.875, gt=0)
    """Side of a pixel in mm; 128 of them span the 240 mm field of BraTS (A17)."""
    slices: tuple[int, int] | None = None
    """Window of axial slices [first, last) from the foot kept in a store (A15: 20..129 of BraTS' 155);
    None keeps all. Predictions always cover every slice with brain."""
    intensity: Literal["percentile", "median"] = "percentile"
    """What fixes the intensity scale (A18)."""
    percentile: float = Field(99.8, gt=0, le=100)
    """The percentile that becomes 1."""
    intensity_scope: Literal["brain", "volume"] = "brain"
    """Whether the percentile is taken in the brain or over the whole scan (A18)."""


@dataclass(frozen=True)
class PreprocessRecord:
    """Everything decided for one scan; enough to bring slices back to its grid and units."""

    grid: WorkingGrid
    scale: IntensityScale

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
    """

    image: SliceArray
    brain: SliceMask
    brain_native: VoxelMask
    record: PreprocessRecord

    def to_native(self, slices: NDArray[Any]) -> VoxelArray:
        """Bring ``(S, H, W)`` back to the scan's grid, 0 outside the brain."""
        return np.where(self.brain_native, self.record.grid.inverse(slices), np.float32(0))


def preprocess(volume: Volume, settings: PreprocessSettings, brain: VoxelMask | None = None) -> Prepared:
    """Bring a scan to the working grid.

    Args:
        volume: The scan in its own space.
        settings: How.
        brain: ``(I, J, K)`` brain mask; ``None`` finds it, for which the scan must be skull-stripped.

    Raises:
        BrainMaskError: No brain, or a scan with skull and no mask.
        GeometryError: The brain does not fit the window.
        VolumeError: The brain has no contrast.
    """
    if brain is None:
        brain, zero = stripped_brain_mask(volume), background_level(volume)
    else:
        brain, zero = clean_mask(brain), 0.0
        if not brain.any():
            msg = f"{volume.source}: expected a brain mask with voxels inside, got an empty one; check the mask"
            raise BrainMaskError(msg)
    grid = fit_grid(volume, brain, settings.size, settings.pixel_mm)
    scale = fit_scale(volume, brain, zero, settings.intensity, settings.percentile, settings.intensity_scope)
    image = grid.forward(np.where(brain, scale.forward(volume.data), np.float32(0)))
    mask = grid.forward(brain) > 0.5
    return Prepared(np.where(mask, image, np.float32(0)), mask, brain, PreprocessRecord(grid, scale))
