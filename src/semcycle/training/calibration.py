"""Calibration: the thresholds a model carries, each with the healthy data it came from.

A threshold is only as good as its likeness to the scan it is used on: "1 % of healthy voxels pass it" was true on the
healthy data named in ``source``, prepared and post-processed like that, and nowhere else by right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, ValidationError

from semcycle.config import MAX_COUNT, Config
from semcycle.errors import CheckpointError, PredictionError
from semcycle.files import write_bytes

CALIBRATION = "calibration.json"
PRIOR = "prior.safetensors"
"""Healthy prior that a calibration leaves beside the weights, see :mod:`semcycle.prediction.prior`."""

MIN_LESION_ML = 0.03
"""Components of a lesion mask below this volume are specks of a few voxels."""

RATES = (0.01, 0.02, 0.05)
"""False-positive rates at which thresholds are set on healthy voxels."""


@dataclass(frozen=True)
class Threshold:
    """A cut through the scores: a voxel of at least ``value`` is called lesion.

    Attributes:
        rule: Short name, the ending of the metrics it makes: ``dice_at_<rule>``. ``oracle`` and ``fpr_1`` come from the
            test cases, ``validation`` and ``healthy_1`` from others.
        value: The score; NaN where the data it should come from cannot give one.
        source: For the table: ``oracle: ...``, ``validation: ...`` or ``healthy: ...``, with the rule and the data.
        grow: In a lesion mask, a component of voxels from this score on is lesion where one of them reaches ``value``;
            ``None`` for a plain cut at ``value``.
        min_ml: In a lesion mask, components below this volume are left out.
    """

    rule: str
    value: float
    source: str
    grow: float | None = None
    min_ml: float = MIN_LESION_ML


class Promise(Config):
    """What a cut keeps on the next scan like those it was set on, by conformal risk control [angelopoulos2024]."""

    limit: float = Field(gt=0)
    """Expected loss at most: a share of the healthy voxels, or a number of false components."""
    bound: float = Field(gt=0)
    """Larger losses of a scan were counted as this."""
    scans: int = Field(ge=0, le=1_000_000)
    """Healthy scans it was set on."""
    kept: bool
    """Whether that many scans can promise it; else the cut is an estimate."""
    why_not: str = ""
    """Why it is an estimate, in words."""
    seen: float
    """Mean loss of every scan at the cut that the other scans set."""

    def describe(self, what: str) -> str:
        """The promise, or why there is none, as a sentence."""
        if self.kept:
            return (
                f"{what}: at most {self.limit:g} expected in the next healthy scan like these {self.scans} (conformal "
                f"risk control, losses above {self.bound:g} counted as {self.bound:g}); {self.seen:.3g} seen"
            )
        return (
            f"{what}: {self.limit:g} asked, {self.seen:.3g} seen on the {self.scans} scans it was set on; an estimate "
            f"and no promise ({self.why_not})"
        )


class MaskRule(Config):
    """How a lesion mask is cut (:mod:`semcycle.prediction.lesion_mask`), chosen on healthy scans."""

    seed: float
    """A component is lesion where one of its voxels reaches this score."""
    grow: float
    """Components are made of voxels from this score on."""
    min_ml: float = Field(ge=0)
    """Smaller components are left out."""
    voxels: Promise
    """Share of the healthy voxels in the mask."""
    components: Promise
    """False components a scan."""


class HealthyThreshold(Config):
    """The score that a share of healthy voxels passes."""

    rate: float = Field(gt=0, lt=1)
    """The share."""
    value: float
    """Over the whole brain."""
    promise: Promise | None = None
    """What it keeps; ``None`` in files from before there were promises."""
    gm: float | None = None
    """In grey matter, in files from before there were promises; nothing was ever cut there."""
    wm: float | None = None
    """White matter, likewise."""
    csf: float | None = None
    """CSF, likewise."""


class HealthyComponents(Config):
    """What healthy scans have above a mask's growth threshold: how often a piece of a size and height is chance."""

    grow: float
    """Components are made of voxels from this score on."""
    least_ml: float = Field(ge=0)
    """Smaller components were not kept."""
    count: int = Field(ge=1, le=MAX_COUNT)
    """Healthy scans."""
    scan: list[int]
    """Which of the scans each component is of, from 0."""
    ml: list[float]
    """Volume of each."""
    peak: list[float]
    """Highest score of each."""

    def scans_with(self, ml: float, peak: float) -> int | None:
        """Scans that have a component at least this large and high; ``None`` below what was kept."""
        if ml < self.least_ml:
            return None
        alike = (np.array(self.ml) >= ml) & (np.array(self.peak) >= peak)
        return len(set(np.array(self.scan)[alike].tolist()))


class Calibration(Config):
    """What ``semcycle calibrate`` leaves beside the weights."""

    preset: str
    """Post-processing the model is meant to be used with."""
    source: str
    """The healthy data, in words."""
    cases: list[str]
    """Their names."""
    subjects: list[str] = Field(default_factory=list)
    """Whose scans they are, each once; empty in files from before they were kept."""
    thresholds: dict[str, list[HealthyThreshold]]
    """Preset -> thresholds."""
    masks: dict[str, MaskRule] = Field(default_factory=dict)
    """Preset -> how the lesion mask is cut where the user names no threshold."""
    health: dict[str, HealthyComponents] = Field(default_factory=dict)
    """Preset -> components of the healthy scans, for each mask rule; empty in files from before they were kept."""
    prior: str = ""
    """SHA-256 of the healthy prior the scores were made with; empty without."""
    centre: Literal["field", "brain"] | None = None
    """What the slices of the scans were centred on: the model's predictions are centred so too, whatever those it
    learned from were. ``None`` in files from before it was kept."""
    largest_residual: float | None = None
    """Largest typical residual of the scans; a brain with a larger one is unlike them."""

    def save(self, folder: Path) -> Path:
        """Write ``calibration.json`` into a run folder."""
        write_bytes(folder / CALIBRATION, (self.model_dump_json(indent=1) + "\n").encode())
        return folder / CALIBRATION

    @classmethod
    def load(cls, folder: Path) -> Calibration | None:
        """Read what :meth:`save` wrote; ``None`` for a run that was never calibrated.

        Raises:
            CheckpointError: The file is damaged.
        """
        path = folder / CALIBRATION
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            msg = f"{path}: expected thresholds, got a damaged file ({reason}); run `semcycle calibrate` again"
            raise CheckpointError(msg) from error


def find_threshold(text: str, calibration: Calibration | None, preset: str, model: str) -> Threshold | None:
    """What ``--threshold`` asks for.

    Args:
        text: ``none``, ``fpr=0.01``, or a score in [0, 1]; ``auto`` is how the model's masks are cut: the mask rule
            of its calibration, ``fpr=0.01`` where that has none, ``none`` for a model without calibration.
        calibration: The model's.
        preset: Post-processing of the scores to be cut.
        model: Its name, for messages.

    Raises:
        PredictionError: The text is none of these, or the model carries no such threshold.
    """
    known = calibration.thresholds.get(preset, []) if calibration else []
    if text == "none" or (text == "auto" and not known):
        return None
    if text == "auto" and calibration and preset in calibration.masks:
        rule = calibration.masks[preset]
        words = f"set on {calibration.source}; {rule.components.describe('false components a scan')}"
        return Threshold("calibrated", rule.seed, words, rule.grow, rule.min_ml)
    if text == "auto":
        text = "fpr=0.01"
    name, equals, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1
    if (equals and name != "fpr") or not 0 <= value <= 1:
        msg = f"expected --threshold fpr=RATE, a score from 0 to 1, or none, got {text!r}"
        raise PredictionError(msg)
    if not equals:
        return Threshold("given", value, "given by the user")
    if calibration is None:
        msg = (
            f"{model}: expected a calibrated model for --threshold {text}, got one without thresholds; run `semcycle "
            "calibrate`, or give a score"
        )
        raise PredictionError(msg)
    for threshold in known:
        if abs(threshold.rate - value) < 1e-9:
            return Threshold(
                f"healthy_{100 * value:g}", threshold.value, f"{100 * value:g} % FPR on {calibration.source}"
            )
    rates = ", ".join(f"fpr={threshold.rate:g}" for threshold in known) or f"none for preset {preset}"
    msg = (
        f"{model}: expected one of the model's thresholds ({rates}), got {text!r}; run `semcycle calibrate` for others"
    )
    raise PredictionError(msg)
