"""Calibrate a model on healthy scans: its prior, its thresholds, how lesion masks are cut, and what that promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError, SplitError
from semcycle.files import file_hash, open_scratch
from semcycle.prediction.lesion_mask import find_components
from semcycle.prediction.postprocess import PRESETS, PostProcessing, filter_residuals, find_preset, make_anomaly_map
from semcycle.prediction.prior import HealthyPrior, Moments, fit_prior, measure_moments
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.scoring.healthy_scans import HealthyScan
from semcycle.scoring.risk import control_risk, cuts, share_above
from semcycle.scoring.scan_spool import ScanSpool
from semcycle.training.calibration import (
    MIN_LESION_ML,
    RATES,
    Calibration,
    HealthyComponents,
    HealthyThreshold,
    MaskRule,
)
from semcycle.training.checkpoint import Checkpoint
from semcycle.types import VoxelArray

SHARE_BOUND = 0.1
"""Shares of called healthy voxels above this count as this: 9 scans can then promise 1 %, where 99 would be needed."""
COUNT_BOUND = 10.0
"""Multiple of the limit above which numbers of false components count as this: 9 scans can then promise it."""


@dataclass(frozen=True)
class CalibrationSettings:
    """What is asked of a calibration.

    Attributes:
        preset: Post-processing the model is meant to be used with.
        alpha: Share of the healthy voxels that the lesion mask may take.
        max_false_components: False components a scan that it may have.
        grow_rate: Share of the healthy voxels that reach the mask's growth threshold.
        min_ml: Components of the mask below this volume are left out.
        keep_prior: Whether the model keeps the healthy prior it has; else it is learned on these scans.
        allow_learned: Whether scans that the model learned from may count; there is no promise then.
    """

    preset: str = "literal"
    alpha: float = 0.01
    max_false_components: float = 2.0
    grow_rate: float = 0.02
    min_ml: float = 0.1
    keep_prior: bool = False
    allow_learned: bool = False


@dataclass(frozen=True)
class Calibrated:
    """What a calibration leaves beside a model.

    Attributes:
        calibration: Thresholds and mask rules.
        prior: Healthy prior that was learned, if any.
    """

    calibration: Calibration
    prior: HealthyPrior | None = None

    def save(self, folder: Path) -> Path:
        """Write ``prior.safetensors`` where there is one, and ``calibration.json``, which carries its hash."""
        if not self.prior:
            return self.calibration.save(folder)
        digest = file_hash(self.prior.save(folder))
        return self.calibration.model_copy(update={"prior": digest}).save(folder)


def calibrate_model(
    checkpoint: Checkpoint,
    scans: Iterable[HealthyScan],
    settings: CalibrationSettings,
    source: str,
    progress: Callable[[str], None] = lambda name: None,
) -> Calibrated:
    """Find a model's healthy prior, thresholds and mask rules on healthy voxels.

    Where the prior is learned, every scan is scored with the prior of the others.

    Args:
        checkpoint: A trained run.
        scans: Prepared as the model's.
        settings: What is asked.
        source: The data in words.
        progress: Called with every reconstructed scan's name.

    Raises:
        SplitError: The model has learned from a subject.
        ScoringError: No healthy voxel, or no such preset.
        PredictionError: The preset needs a prior, and none that fits is to be kept.
    """
    steps = find_preset(settings.preset)
    learned = set(checkpoint.record.get("subjects", ()))
    names, subjects, moments, residuals = [], [], [], []
    with open_scratch("semcycle-calibrate") as folder:
        spool = ScanSpool(folder)
        for scan in scans:
            if scan.subject in learned and not settings.allow_learned:
                msg = f"{checkpoint.folder}: expected subjects the model has not seen, got {scan.subject}; name others"
                raise SplitError(msg)
            if scan.healthy.any():
                reconstructed = reconstruct_slices(checkpoint.method, scan.x, scan.brain)
                spool.append(scan, reconstructed)
                names.append(scan.name)
                subjects.append(scan.subject)
                residuals.append(float(np.median(np.abs(scan.x[scan.healthy] - reconstructed.image[scan.healthy]))))
                if steps.prior and not settings.keep_prior:
                    both = steps.model_copy(update={"sign": "absolute"})
                    filtered = filter_residuals(scan.x, reconstructed, scan.brain, both, scan.spacing)
                    moments.append(
                        measure_moments(filtered, scan.healthy, scan.brain, reconstructed.tissue, scan.spacing)
                    )
            progress(scan.name)
        if not names:
            msg = f"{source}: expected healthy voxels, got none; name other scans"
            raise ScoringError(msg)
        seen = [subject for subject in subjects if subject in learned]
        priors = _Priors(steps, moments, HealthyPrior.load(checkpoint.folder), len(names))
        cutter = _Cutter(spool, priors, settings, f"the model learned from {len(seen)} of the scans" if seen else "")
        presets = dict.fromkeys([settings.preset, *(name for name in PRESETS if priors.fit(name))])
        rules = {name: cutter.set_cuts(name) for name in presets}
        health = {name: cutter.keep_components(name, rule.grow) for name, (_, rule) in rules.items() if rule}
    calibration = Calibration(
        preset=settings.preset,
        source=source,
        cases=names,
        subjects=sorted(set(subjects)),
        thresholds={name: thresholds for name, (thresholds, _) in rules.items()},
        masks={name: rule for name, (_, rule) in rules.items() if rule},
        health=health,
        centre=checkpoint.preprocess.centre,
        largest_residual=round(max(residuals), 5),
        prior=priors.kept_hash(checkpoint.folder),
    )
    return Calibrated(calibration, priors.whole if moments else None)


class _Priors:
    """The healthy prior of all scans, and for each scan that of the others."""

    def __init__(self, steps: PostProcessing, moments: list[Moments], kept: HealthyPrior | None, count: int) -> None:
        self._filters, self._moments, self._count = steps.filters, moments, count
        self._total = sum(moments[1:], moments[0]) if moments else None
        self.whole = kept if self._total is None else fit_prior(self._total, self._filters)

    def without(self, index: int) -> HealthyPrior | None:
        """The prior for a scan; of a single scan its own."""
        if self._total is None or self._count == 1:
            return self.whole
        return fit_prior(self._total - self._moments[index], self._filters)

    def fit(self, preset: str) -> bool:
        """Whether a preset needs no prior, or this one."""
        steps = find_preset(preset)
        return not steps.prior or (self.whole is not None and self.whole.steps == steps.filters)

    def kept_hash(self, folder: Path) -> str:
        """SHA-256 of a prior that is kept as it is."""
        from semcycle.training.calibration import PRIOR

        return file_hash(folder / PRIOR) if self._total is None and (folder / PRIOR).is_file() else ""

    @property
    def objection(self) -> str:
        """Why scores that this prior made carry no exact promise."""
        return "" if self._total is None else "the healthy prior was learned on the same scans, each left out in turn"


class _Cutter:
    """Sets the cuts of presets on spooled scans."""

    def __init__(self, spool: ScanSpool, priors: _Priors, settings: CalibrationSettings, objection: str) -> None:
        self._spool, self._priors, self._settings, self._objection = spool, priors, settings, objection

    def set_cuts(self, preset: str) -> tuple[list[HealthyThreshold], MaskRule | None]:
        """Thresholds of a preset, and the mask rule of one whose scores are to be cut to masks."""
        steps, settings = find_preset(preset), self._settings
        voxels = np.stack([self._voxels(index, preset) for index in range(len(self._spool))])
        objection = self._objection or (self._priors.objection if steps.prior else "")
        thresholds = []
        for rate in dict.fromkeys([*RATES, settings.alpha]):
            cut = control_risk(voxels, rate, SHARE_BOUND * max(1.0, rate / 0.01), objection)
            thresholds.append(HealthyThreshold(rate=rate, value=_value(cut.place), promise=cut.promise))
        if preset != settings.preset and not steps.prior:
            return thresholds, None
        grow = float(cuts()[int(np.argmax(voxels.mean(axis=0) <= settings.grow_rate))])
        losses = [self._mask(index, preset, grow) for index in range(len(self._spool))]
        shares, counts = (np.stack(each) for each in zip(*losses, strict=True))
        limit = settings.max_false_components
        share_cut = control_risk(shares, settings.alpha, SHARE_BOUND * max(1.0, settings.alpha / 0.01), objection)
        count_cut = control_risk(counts, limit, COUNT_BOUND * limit, objection)
        seed = max(_value(share_cut.place), _value(count_cut.place), grow)
        rule = MaskRule(
            seed=seed,
            grow=min(grow, 1.0),
            min_ml=settings.min_ml,
            voxels=share_cut.promise,
            components=count_cut.promise,
        )
        return thresholds, rule

    def keep_components(self, preset: str, grow: float) -> HealthyComponents:
        """The healthy components of all scans from a growth threshold on."""
        scans, sizes, highest = [], list[float](), list[float]()
        for index in range(len(self._spool)):
            peaks, ml = self._false_components(index, preset, grow, MIN_LESION_ML)
            scans += [index] * len(ml)
            sizes += [round(float(size), 3) for size in ml]
            highest += [round(float(peak), 4) for peak in peaks]
        return HealthyComponents(
            grow=grow, least_ml=MIN_LESION_ML, count=len(self._spool), scan=scans, ml=sizes, peak=highest
        )

    def _scores(self, index: int, preset: str) -> tuple[HealthyScan, VoxelArray]:
        scan, reconstructed = self._spool.load(index)
        prior = self._priors.without(index)
        return scan, scan.to_native(make_anomaly_map(scan.x, reconstructed, scan.brain, preset, scan.spacing, prior))

    def _voxels(self, index: int, preset: str) -> NDArray[np.float64]:
        """Share of a scan's healthy voxels that reach each cut."""
        scan, scores = self._scores(index, preset)
        return share_above(scores[scan.healthy_native])

    def _mask(self, index: int, preset: str, grow: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """For each seed the share of the healthy voxels in a scan's mask, and its false components."""
        scan = self._spool.load(index)[0]
        peaks, ml = self._false_components(index, preset, grow, self._settings.min_ml)
        healthy_ml = scan.healthy_native.sum() * float(np.prod(scan.spacing_native)) / 1000
        return share_above(peaks, ml / healthy_ml), share_above(peaks, np.ones(len(peaks)))

    def _false_components(
        self, index: int, preset: str, grow: float, least_ml: float
    ) -> tuple[NDArray[np.float32], NDArray[np.floating]]:
        """Peaks and volumes of a scan's components; those that reach into a lesion or its margin are left out."""
        scan, scores = self._scores(index, preset)
        components, peaks = find_components(scores, scan.inside, scan.spacing_native, grow)
        touched = np.unique(components.labels[scan.inside & ~scan.healthy_native])
        false = components.sizes_ml >= least_ml
        false[touched[touched > 0] - 1] = False
        return peaks[false], components.sizes_ml[false]


def _value(index: int) -> float:
    """The score at a cut; the one above all scores is 1, which hardly anything healthy reaches."""
    return round(min(float(cuts()[index]), 1.0), 6)
