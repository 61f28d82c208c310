"""Post-processing of anomaly maps, as named presets whose steps can be changed one by one.

A preset is named on the command line and in every row of a table as ``NAME`` or ``NAME,step=value,...``::

    literal
    baur,erode_mm=3
    literal,median_mm=5,gaussian_mm=1.5,min_component_mm3=30

so that every score says what was done to it. Lengths are in mm and hold for any voxel size; only ``median_size`` counts
voxels, as the reference code does.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from semcycle.config import Config, change_settings
from semcycle.errors import PredictionError, ScoringError
from semcycle.prediction.filters import erode, flatten_small, median, odd_sizes, smooth
from semcycle.prediction.prior import HealthyPrior, add_evidence
from semcycle.preprocess.quantiles import ScanQuantiles, read_quantile
from semcycle.types import SliceArray, SliceMask, Spacing

if TYPE_CHECKING:
    from semcycle.methods.base import Reconstructed

Sign = Literal["absolute", "positive", "negative"]


class PostProcessing(Config):
    """Steps from a reconstruction to an anomaly map, in this order; the defaults do nothing."""

    sign: Sign = "absolute"
    """Absolute residual, or only what is brighter, or only what is darker than reconstructed."""
    erode_mm: float = Field(0.0, ge=0, lt=1000)
    """Scores become 0 within this distance (city block, in the slice) of the brain's edge."""
    prior_quantile: float | None = Field(None, ge=0, le=1)
    """Scores become 0 where the image is darker than this quantile."""
    prior_scope: Literal["volume", "brain"] = "volume"
    """Whether the quantile is over the brain, or over the whole scan: all slices, with their background."""
    median_size: int = Field(1, ge=1, le=31)
    """Side in voxels of the cubic 3-D median filter, odd; 1 for none."""
    median_mm: float = Field(0.0, ge=0, le=50)
    """Side in mm of the 3-D median filter: the nearest odd number of voxels along each axis; 0 for none."""
    gaussian_mm: float = Field(0.0, ge=0, le=50)
    """Standard deviation of a 3-D Gaussian mean within the brain; 0 for none."""
    residual_mm: float | None = Field(None, ge=0, le=50)
    """Standard deviation of the Gaussian mean of the residual that is set in relation to the healthy prior; ``none``
    for that of ``gaussian_mm``."""
    prior: bool = False
    """Whether the filtered residual is set in relation to the model's healthy prior (``on``, ``off``)."""
    min_component_mm3: float = Field(0.0, ge=0)
    """Components of scores above ``component_level`` that are smaller are lowered to that level; 0 for none."""
    component_level: float = Field(0.0, allow_inf_nan=False)
    """Score above which voxels form components."""

    @model_validator(mode="after")
    def _check(self) -> PostProcessing:
        if self.median_size % 2 == 0:
            msg = f"expected an odd median_size, got {self.median_size}"
            raise ValueError(msg)
        if self.median_size > 1 and self.median_mm:
            msg = "expected the median's side in voxels or in mm, got both; set median_size=1"
            raise ValueError(msg)
        return self

    @property
    def needs_depth(self) -> bool:
        """Whether a step runs across slices in mm."""
        return bool(self.median_mm or self.gaussian_mm or self.min_component_mm3)

    @property
    def filters(self) -> str:
        """The steps between residual and prior, as a text: a prior holds for the filters it was learned with."""
        names = ("erode_mm", "prior_quantile", "prior_scope", "median_size", "median_mm", "gaussian_mm")
        own = "" if self.residual_mm is None else f",residual_mm={self.residual_mm}"
        return ",".join(f"{name}={getattr(self, name)}" for name in names) + own


PRESETS = {
    # Eq. 5 of the paper in the brain, nothing else
    "literal": PostProcessing(),
    # defaults of the code of [baur2021]: 12 pixels of erosion at 128 pixels over 240 mm are 22.5 mm
    "baur": PostProcessing(
        sign="positive", erode_mm=22.5, prior_quantile=0.9, prior_scope="volume", median_size=5
    ),
    # chosen on the validation cases of the bundled model (tumours), with less blur than served them best, for plaques'
    # sake
    "smooth": PostProcessing(sign="positive", erode_mm=6.0, gaussian_mm=2.5),
    # the healthy prior makes up for the errors at the brain's edge, which is scored
    "healthy": PostProcessing(sign="positive", gaussian_mm=2.5, prior=True),
    # bright and dark lesions, each against its own prior
    "two-sided": PostProcessing(sign="absolute", gaussian_mm=2.5, prior=True),
    # for the scores of the method refine, which are probabilities and know the rim; the cycle's residual is evidence
    # beside them
    "refined": PostProcessing(sign="positive", gaussian_mm=1.5, residual_mm=2.5, prior=True),
}  # fmt: skip
"""Name -> post-processing (ambiguities A20 and A21)."""


@cache
def find_preset(text: str) -> PostProcessing:
    """The post-processing that a text names, see the module's examples.

    Raises:
        ScoringError: No preset has this name.
        SettingsError: No step has this name, or a value is out of range.
    """
    name, *words = [word.strip() for word in text.split(",")]
    if name not in PRESETS:
        msg = (
            f"expected a preset of {', '.join(PRESETS)}, or one with changes such as literal,median_mm=5, got {text!r}"
        )
        raise ScoringError(msg)
    return change_settings(PRESETS[name], words, text)


def residual(x: SliceArray, reconstruction: SliceArray, sign: Sign = "absolute") -> SliceArray:
    """R = |x - G(S(x))| (Eq. 5), or one side of it: only what is brighter, or darker, than expected (A20).

    Args:
        x: ``(S, H, W)`` in [0, 1].
        reconstruction: ``(S, H, W)`` in [0, 1].
        sign: ``absolute``, ``positive`` or ``negative``.
    """
    difference = np.asarray(x, np.float32) - np.asarray(reconstruction, np.float32)
    if sign == "absolute":
        return np.abs(difference)
    return np.maximum(difference if sign == "positive" else -difference, 0)


def make_anomaly_map(
    x: SliceArray,
    reconstructed: Reconstructed,
    brain: SliceMask,
    preset: str | PostProcessing,
    spacing: float | Spacing,
    prior: HealthyPrior | None = None,
    quantiles: ScanQuantiles | None = None,
) -> SliceArray:
    """Turn a reconstruction into an anomaly map: how far every voxel is from its healthy reconstruction.

    Args:
        x: ``(S, H, W)`` in [0, 1]; neighbouring slices, from foot to head.
        reconstructed: Its reconstruction; a score of the method's own takes the place of the residual.
        brain: ``(S, H, W)``.
        preset: Key of ``PRESETS``, with changes if any, or steps of one's own.
        spacing: Voxel size ``(S, H, W)`` in mm; the side of a pixel alone where no step in mm runs across slices.
        prior: The model's, for presets with ``prior=on``.
        quantiles: Of the whole scan, where ``x`` is a part of it, such as the slices in a store.

    Returns:
        ``(S, H, W)`` scores in [0, 1], 0 outside the brain.

    Raises:
        ScoringError: No preset has this name, or it needs the distance of slices.
        PredictionError: It needs a healthy prior, and there is none that fits.
    """
    steps = find_preset(preset) if isinstance(preset, str) else preset
    if steps.prior:
        return _relate(x, reconstructed, brain, steps, spacing, _fitting(prior, steps, preset), quantiles)
    scores = (
        residual(x, reconstructed.image, steps.sign)
        if reconstructed.score is None
        else np.asarray(reconstructed.score, np.float32)
    )
    return process_map(scores, brain, steps, spacing, x, quantiles)


def filter_residuals(
    x: SliceArray,
    reconstructed: Reconstructed,
    brain: SliceMask,
    steps: PostProcessing,
    spacing: float | Spacing,
    quantiles: ScanQuantiles | None = None,
) -> dict[str, SliceArray]:
    """Bright and dark residuals after the filters of ``steps``: what the healthy prior is about.

    Args:
        x: ``(S, H, W)`` in [0, 1].
        reconstructed: Its reconstruction.
        brain: ``(S, H, W)``.
        steps: Whose filters.
        spacing: As for :func:`make_anomaly_map`.
        quantiles: As for :func:`make_anomaly_map`.

    Returns:
        ``positive`` and ``negative`` -> ``(S, H, W)``, not negative, 0 outside the brain.
    """
    width = steps.gaussian_mm if steps.residual_mm is None else steps.residual_mm
    filters = steps.model_copy(update={"prior": False, "min_component_mm3": 0.0, "gaussian_mm": width})
    return {
        sign: process_map(residual(x, reconstructed.image, sign), brain, filters, spacing, x, quantiles)
        for sign in (("positive", "negative") if steps.sign == "absolute" else (steps.sign,))
    }


def _fitting(prior: HealthyPrior | None, steps: PostProcessing, preset: str | PostProcessing) -> HealthyPrior:
    """The prior, where it is there and was learned with the same filters."""
    if prior is None:
        msg = (
            f"preset {preset}: expected a model with a healthy prior, got one without; run `semcycle calibrate`, "
            "or set prior=off"
        )
        raise PredictionError(msg)
    if prior.steps != steps.filters:
        msg = (
            f"preset {preset}: expected the filters that the model's healthy prior was learned with ({prior.steps}), "
            f"got {steps.filters}; run `semcycle calibrate --preset` with these, or set prior=off"
        )
        raise PredictionError(msg)
    return prior


def _relate(
    x: SliceArray,
    reconstructed: Reconstructed,
    brain: SliceMask,
    steps: PostProcessing,
    spacing: float | Spacing,
    prior: HealthyPrior,
    quantiles: ScanQuantiles | None,
) -> SliceArray:
    """Score of the residual in relation to health, see :mod:`semcycle.prediction.prior`."""
    pixel = (spacing, spacing) if isinstance(spacing, int | float) else spacing[1:]
    residuals = filter_residuals(x, reconstructed, brain, steps, spacing, quantiles)
    parts = [prior.standardise(part, sign, brain, reconstructed.tissue, pixel) for sign, part in residuals.items()]
    z = parts[0] if len(parts) == 1 else np.maximum(*parts)
    if reconstructed.score is None:
        scores = np.asarray(z / (1 + z), np.float32)
    else:
        filters = steps.model_copy(update={"prior": False, "min_component_mm3": 0.0})
        q = process_map(np.asarray(reconstructed.score, np.float32), brain, filters, spacing, x, quantiles)
        scores = np.where(brain, add_evidence(q, z), np.float32(0))
    if steps.min_component_mm3 and not isinstance(spacing, int | float):
        scores = flatten_small(scores, steps.component_level, steps.min_component_mm3, spacing)
    return np.asarray(scores, np.float32)


def process_map(
    scores: SliceArray,
    brain: SliceMask,
    steps: PostProcessing,
    spacing: float | Spacing,
    x: SliceArray | None = None,
    quantiles: ScanQuantiles | None = None,
) -> SliceArray:
    """Apply all steps to a map but the residual's sign and the healthy prior, which need the reconstruction.

    Args:
        scores: ``(S, H, W)``, of any range.
        brain: ``(S, H, W)``.
        steps: What to do.
        spacing: As for :func:`make_anomaly_map`.
        x: ``(S, H, W)`` image, for the hyper-intensity prior.
        quantiles: As for :func:`make_anomaly_map`.

    Returns:
        ``(S, H, W)`` float32, 0 outside the brain.

    Raises:
        ScoringError: A step needs the image, the distance of slices, or the reconstruction.
    """
    if steps.prior:
        msg = "expected steps that a map alone allows, got prior=on, which needs the reconstruction; set prior=off"
        raise ScoringError(msg)
    if isinstance(spacing, int | float):
        if steps.needs_depth:
            msg = (
                "expected the distance of slices for filters in mm, got a pixel's side only; give all three voxel sizes"
            )
            raise ScoringError(msg)
        spacing = (float("nan"), spacing, spacing)
    scores = np.where(erode(brain, steps.erode_mm, spacing[1:]), scores, np.float32(0))
    if steps.prior_quantile is not None:
        if x is None:
            msg = "expected an image for the hyper-intensity prior, got a map only; set prior_quantile=none"
            raise ScoringError(msg)
        scores = np.where(
            x < _prior_level(x, brain, steps.prior_quantile, steps.prior_scope, quantiles), np.float32(0), scores
        )
    sizes = odd_sizes(steps.median_mm, spacing) if steps.median_mm else (steps.median_size,) * 3
    scores = np.where(brain, median(scores, brain, sizes), np.float32(0))
    if steps.gaussian_mm:
        scores = smooth(scores, brain, steps.gaussian_mm, spacing)
    if steps.min_component_mm3:
        scores = flatten_small(scores, steps.component_level, steps.min_component_mm3, spacing)
    return np.asarray(scores, np.float32)


def _prior_level(x: SliceArray, brain: SliceMask, share: float, scope: str, quantiles: ScanQuantiles | None) -> float:
    """The intensity below which nothing is called anomalous."""
    if scope == "brain":
        return float(np.quantile(x[brain], share))
    return float(np.quantile(x, share)) if quantiles is None else read_quantile(quantiles, share)
