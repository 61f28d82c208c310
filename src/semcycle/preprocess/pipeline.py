"""The steps from a scan to working slices, as one recorded and invertible decision."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from semcycle.config import MAX_COUNT, Config
from semcycle.errors import BrainMaskError
from semcycle.preprocess.bias import fit_bias
from semcycle.preprocess.brain_mask import (
    BrainRecord,
    black_level,
    check_fit,
    check_levels,
    check_mask,
    clean_mask,
    find_background,
    judge_edge,
    looks_stripped,
    stripped_brain_mask,
)
from semcycle.preprocess.denoise import smooth_by_curvature
from semcycle.preprocess.geometry import Centre, Kernel, Labels, Window, WorkingGrid, fit_grid
from semcycle.preprocess.intensity import IntensityScale, fit_scale, match_histogram
from semcycle.preprocess.skull import Skull, strip_skull
from semcycle.types import SliceArray, SliceMask, VoxelArray, VoxelMask
from semcycle.volume import Volume
from semcycle.volume.slabs import WHOLE

SliceNumber = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Label = Annotated[int, Field(ge=-(2**31), lt=2**31)]


class PreprocessSettings(Config):
    """How scans become slices. A store and the runs trained on it carry these settings."""

    modality: str = "t2"
    """Which image of a case is used."""
    size: int = Field(128, ge=16, le=1024, multiple_of=16)
    """Pixels along both sides of a slice."""
    pixel_mm: float = Field(1.875, ge=0.05, le=20)
    """Side of a pixel in mm where ``window`` is ``mm``; 128 of them span the 240 mm field of BraTS (A17)."""
    window: Window = "mm"
    """What the slices show (A17). ``mm``: pixels of ``pixel_mm``, so that a head keeps its size from scanner to
    scanner; ``scan``: the longer side of the scan's field of view fills the slice; ``brain``: the longer side of the
    brain's box does."""
    centre: Centre = "field"
    """What the slices are centred on where ``window`` is not ``brain`` (A17): the scan's field of view, or ``brain``,
    so that air cropped away around it changes nothing."""
    resampling: Kernel = "area"
    """How images and tissue maps become slices (A17): ``area`` averages over a pixel; ``cubic`` reads the cubic spline
    at its centre, without smoothing before, and cuts the overshoot, as Baur's code does."""
    labels: Labels = "area"
    """How masks become slices (A17): more than half of a pixel inside, or (``nearest``) its centre."""
    lesion_labels: tuple[Label, ...] | None = None
    """Which labels of the experts' masks are the lesion to be found (A16), such as ``4`` for BraTS' enhancing tumour or
    ``1,4`` for its core; none takes all. Slices and voxels of other labels are never shown to a method as healthy, and
    when scores are counted they are not lesion."""
    slices: tuple[SliceNumber, SliceNumber] | None = None
    """Window of axial slices FIRST:LAST from the foot, LAST excluded, that a store keeps (A15: 20:130 of BraTS' 155);
    none keeps all. Predictions always cover every slice with brain."""
    skull: Skull = "auto"
    """What finds the brain in a scan with its skull: HD-BET, BET, or HD-BET where it is installed and else BET."""
    bias: Literal["none", "n4"] = "none"
    """Whether a smooth bias field is taken out before the intensity is scaled."""
    denoise: Literal["none", "curvature"] = "none"
    """``curvature``: three steps of curvature flow over the whole scan before anything else, as Baur's code does with
    real scans (A18)."""
    intensity: Literal["percentile", "median"] = "percentile"
    """What fixes the intensity scale (A18)."""
    percentile: float = Field(99.8, gt=0, le=100)
    """The percentile that becomes 1."""
    intensity_scope: Literal["brain", "volume", "slice"] = "brain"
    """Where the percentile or median is taken: in the brain, over the whole scan, or in each slice's brain by itself
    (A18)."""
    histogram: tuple[float, ...] | None = None
    """Rising levels in [0, 1]: quantiles of a reference at equal steps from 0 to 100 %, to which every brain's own are
    moved (A18). ``semcycle prepare --match STORE`` takes those of a store."""

    @field_validator("histogram")
    @classmethod
    def _rises(cls, levels: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if levels is not None and (len(levels) < 2 or levels[0] < 0 or levels[-1] > 1 or (np.diff(levels) <= 0).any()):
            msg = f"expected at least 2 rising levels in [0, 1], got {levels}"
            raise ValueError(msg)
        return levels

    @field_validator("slices", mode="before")
    @classmethod
    def _read_window(cls, value: Any) -> Any:
        """A window may be written as text: ``20:130``."""
        window = [int(word) for word in value.split(":") if word.isdecimal()] if isinstance(value, str) else value
        if window is not None and not (
            isinstance(window, list | tuple)
            and len(window) == 2
            and all(isinstance(side, int) for side in window)
            and 0 <= window[0] < window[1]
        ):
            msg = "expected FIRST:LAST, slices from the foot, FIRST below LAST"
            raise ValueError(msg)
        return window

    @field_validator("lesion_labels", "histogram", mode="before")
    @classmethod
    def _read_numbers(cls, value: Any) -> Any:
        """Numbers may be written as text: ``1,4``."""
        return value.split(",") if isinstance(value, str) else value

    def identity(self) -> dict[str, Any]:
        """What a store records and hashes: options newer than the first stores only where they were set.

        So a store, and the runs that name its hash, stay what they are when semcycle gains options.
        """
        known = type(self).model_fields
        unchanged = {name for name in known if name not in FIRST and getattr(self, name) == known[name].default}
        return self.model_dump(mode="json", exclude=unchanged)

    def differences(self, other: PreprocessSettings) -> list[str]:
        """Settings in which slices prepared with the two differ, as ``size 96, not 128``.

        The window of slices, the choice of labels, the centre and the skull stripping are left out: they change which
        slices there are, what counts as lesion and where in a slice which brain lies, not what a method sees of it.
        """
        left_out = {"slices", "lesion_labels", "centre", "skull"}
        ours, theirs = (one.model_dump(mode="json", exclude=left_out) for one in (self, other))
        return [f"{name} {ours[name]}, not {theirs[name]}" for name in ours if ours[name] != theirs[name]]


FIRST = frozenset({"modality", "size", "pixel_mm", "slices", "bias", "intensity", "percentile", "intensity_scope"})
"""The settings that every store has recorded since the first."""


@dataclass(frozen=True)
class PreprocessRecord:
    """Everything decided for one scan; enough to bring slices back to its grid and units."""

    grid: WorkingGrid
    scale: IntensityScale
    brain: BrainRecord
    bias_range: tuple[float, float] | None
    """5th and 95th percentile of the bias field in the brain; ``None`` where it was not corrected."""

    def to_json(self) -> dict[str, Any]:
        """As plain numbers and lists; options newer than the first stores only where they are not at their default."""
        content = asdict(self)
        for name, part in (("grid", self.grid), ("scale", self.scale)):
            for option in fields(part):
                if content[name][option.name] == option.default:
                    del content[name][option.name]
        return content


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

    def to_scanner(self, slices: NDArray[Any], part: slice = WHOLE) -> VoxelArray:
        """Bring ``(S, H, W)`` intensities in [0, 1] to a part of the scan's axis K, its units and bias field."""
        scale = self.record.scale.cut(part)
        native = scale.inverse(self.to_native(slices, part))
        if self.bias_field is not None:
            native = (native - np.float32(scale.zero)) * self.bias_field[:, :, part] + np.float32(scale.zero)
        return np.where(self.brain_native[:, :, part], native, np.float32(scale.zero))

    def to_native(self, slices: NDArray[Any], part: slice = WHOLE) -> VoxelArray:
        """Bring ``(S, H, W)`` back to a part of the scan's axis K, 0 outside the brain."""
        inverse = self.record.grid.inverse(slices, part)
        return np.where(self.brain_native[:, :, part], inverse, np.float32(0))


def preprocess(volume: Volume, settings: PreprocessSettings, brain: VoxelMask | None = None) -> Prepared:
    """Bring a scan to the working grid.

    Args:
        volume: The scan in its own space.
        settings: How.
        brain: ``(I, J, K)`` brain mask; ``None`` finds it: what is not background in a skull-stripped scan,
            ``settings.skull`` in one with its skull.

    Raises:
        BrainMaskError: No brain, or a scan with its skull and no means to strip it.
        GeometryError: The brain does not fit the window.
        VolumeError: The brain has no contrast.
    """
    brain, zero, checked = _find_brain(volume, brain, settings.skull)
    field, bias_range = None, None
    if settings.denoise == "curvature":
        volume = replace(volume, data=smooth_by_curvature(volume.data, volume.spacing))
    if settings.bias == "n4":
        field = fit_bias(volume.data - zero, volume.spacing, brain)
        low, high = np.percentile(field[brain], [5, 95])
        volume = replace(volume, data=(volume.data - zero) / field + zero)
        bias_range = (round(float(low), 4), round(float(high), 4))
    grid = fit_grid(
        volume,
        brain,
        settings.size,
        settings.pixel_mm,
        window=settings.window,
        centre=settings.centre,
        kernel=settings.resampling,
        labels=settings.labels,
    )
    scale = fit_scale(volume, brain, zero, settings.intensity, settings.percentile, settings.intensity_scope)
    if settings.histogram is not None:
        scale = match_histogram(scale, scale.forward(volume.data)[brain], settings.histogram)
    scaled = scale.forward(volume.data)
    scaled *= brain
    image = grid.forward(scaled)
    del scaled
    mask = grid.forward_mask(brain)
    record = PreprocessRecord(grid, scale, checked, bias_range)
    return Prepared(np.where(mask, image, np.float32(0)), mask, brain, record, field)


def _find_brain(volume: Volume, given: VoxelMask | None, how: Skull) -> tuple[VoxelMask, float, BrainRecord]:
    """Brain mask, intensity of the background, and where the mask came from."""
    background = find_background(volume)
    stripped, remarks = False, list[str]()
    if given is not None:
        brain, method = clean_mask(given), "given"
        if not brain.any():
            msg = f"{volume.source}: expected a brain mask with voxels inside, got an empty one; check the mask"
            raise BrainMaskError(msg)
        remarks = check_fit(brain, volume, background)
    elif stripped := looks_stripped(volume, background):
        brain, method = stripped_brain_mask(volume, background), "stripped"
        remarks = judge_edge(volume, background)
    else:
        check_levels(volume, background)
        brain, method = strip_skull(volume, how)
    black, doubts = black_level(volume, brain, background, stripped=stripped)
    record = check_mask(brain, volume, method)
    return brain, black, replace(record, warnings=[*record.warnings, *remarks, *doubts])
