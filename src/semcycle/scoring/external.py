"""Scores of anomaly maps that lie in files, whatever made them: the work of `semcycle evaluate`.

The definitions are those of `semcycle score`: the voxels of the brain count, and those of lesions outside it, as missed: they get
the lowest score that the method has in any brain. A case that fails for one method is left out for all, so that methods are
compared on the same cases.

Maps of any range need a code that is fitted to all of them before they can be counted, and the best threshold is known only after
that. So every file is read once, and the scores of the region wait in a temporary folder: 4 bytes a voxel, method and preset.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcycle.config import change_settings
from semcycle.errors import Failure, ScoringError, SemcycleError
from semcycle.masks import bounding_box
from semcycle.prediction.postprocess import PostProcessing, process_map
from semcycle.scoring.lesion_pass import LesionCase, look_at_lesions
from semcycle.scoring.map_panels import MapPictures
from semcycle.scoring.map_reader import MapVoxels, read_case
from semcycle.scoring.metrics.codes import CodeFitter, ScoreCode
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.lesions import ComponentRule
from semcycle.scoring.pairing import MapCase, Pairing
from semcycle.scoring.score_table import CaseRecord, Entry, ScoreTable, build_table, pooled
from semcycle.scoring.thresholds import healthy_thresholds, oracle_thresholds, validation_threshold
from semcycle.training.calibration import Threshold
from semcycle.types import Spacing

AS_IS = "as_is"
"""Preset of maps that are scored as they are."""
Key = tuple[str, str]
"""Method and preset."""


@dataclass
class _Scale:
    """What is known of a method's scores under a preset while files are read."""

    fitter: CodeFitter = field(default_factory=CodeFitter)
    lowest: float = np.inf

    @cached_property
    def code(self) -> ScoreCode:
        """Once all cases are read."""
        return self.fitter.fit()


@dataclass(frozen=True)
class _Kept:
    """A case whose voxels wait on disk, within the box around brain and lesion."""

    case: MapCase
    stem: Path
    spacing: Spacing
    lesion_ml: float

    def masks(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Brain and truth ``(S, H, W)``."""
        flags = np.load(f"{self.stem}.npy")
        return flags & 1 > 0, flags & 2 > 0

    def scores(self, number: int, scale: _Scale) -> NDArray[np.float32]:
        """Scores of the region's voxels; the lowest of all for lesions outside the brain."""
        values = np.load(f"{self.stem}-{number}.npy")
        return np.where(np.isnan(values), np.float32(scale.lowest), values)


def score_maps(
    pairing: Pairing,
    *,
    presets: Sequence[str] = (AS_IS,),
    given: Mapping[str, float] | None = None,
    scratch: Path | None = None,
    progress: Callable[[str], None] = lambda case: None,
    rule: ComponentRule | None = None,
    resamples: int = 2000,
) -> tuple[ScoreTable, list[Failure]]:
    """Score maps against truth.

    Args:
        pairing: Which files belong together.
        presets: ``as_is``, or ``as_is,median_mm=5`` with steps of :class:`PostProcessing`: each gets rows of its own.
        given: Method -> a threshold of the user's.
        scratch: Where the temporary folder is made; the system's place without.
        progress: Called twice with every case: read, and looked at lesion by lesion.
        rule: What counts as a lesion, a call and a hit.
        resamples: Of the bootstrap.

    Returns:
        The table, and the cases that are not in it, with reasons.

    Raises:
        ScoringError: No case can be scored, none has a lesion, a preset is none, or thresholds would be set on test subjects.
    """
    steps = {preset: map_steps(preset) for preset in presets}
    scales: dict[Key, _Scale] = {(method, preset): _Scale() for method in pairing.methods for preset in presets}
    pictures = MapPictures()
    failures = list(pairing.failures)
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".maps-") as folder:
        kept = []
        for number, case in enumerate(pairing.cases):
            try:
                voxels = read_case(case)
                scores = _processed(voxels, steps)
                kept.append(_keep(Path(folder) / str(number), case, voxels, scores, scales))
            except SemcycleError as error:
                failures.append(Failure(case.case, str(error)))
            else:
                if case.use == "test":
                    pictures.add(case.case, voxels, scores)
            progress(case.case)
        test = _check(kept, failures)
        entries = [_entry(key, number, kept, scales[key], given or {}) for number, key in enumerate(scales)]
        entries = look_at_lesions(entries, _lesion_cases(test, list(scales.values()), progress), rule)
    panels = pictures.panels({(one.run, one.preset): pooled(one.records) for one in entries})
    return build_table(entries, panels, resamples=resamples), sorted(failures, key=lambda failure: failure.case_id)


def map_steps(preset: str) -> PostProcessing:
    """Post-processing of finished maps: ``as_is``, with ``step=value`` after commas.

    Raises:
        ScoringError: Another name, an unknown step, or one that needs the image or the reconstruction.
    """
    name, *words = [word.strip() for word in preset.split(",")]
    if name != AS_IS:
        msg = f"expected the preset {AS_IS}, or {AS_IS},STEP=VALUE for maps that were not made here, got {preset!r}"
        raise ScoringError(msg)
    steps = change_settings(PostProcessing(), words, preset)
    if steps.sign != "absolute" or steps.prior_quantile is not None:
        msg = f"{preset}: expected steps that need only the map, got sign or prior_quantile; leave them out"
        raise ScoringError(msg)
    return steps


def _processed(voxels: MapVoxels, steps: Mapping[str, PostProcessing]) -> dict[Key, NDArray[np.float32]]:
    """Every method's map under every preset; filters take the case's lowest score, or 0, for what they blank."""
    found = {}
    for method, scores in voxels.scores.items():
        floor = min(scores[voxels.brain].min(), np.float32(0))
        for preset, some in steps.items():
            if some == PostProcessing():
                found[method, preset] = scores
                continue
            shifted = np.where(voxels.brain, scores - floor, np.float32(0))
            level = {"component_level": some.component_level - float(floor)}
            done = process_map(shifted, voxels.brain, some.model_copy(update=level), voxels.spacing)
            found[method, preset] = np.where(voxels.brain, done + floor, np.float32(0))
    return found


def _keep(
    stem: Path, case: MapCase, voxels: MapVoxels, scores: Mapping[Key, NDArray[np.float32]], scales: dict[Key, _Scale]
) -> _Kept:
    """Write a case's region to disk, and take its scores in."""
    region = voxels.brain | voxels.truth
    box = bounding_box(region)
    np.save(f"{stem}.npy", (voxels.brain[box] + 2 * voxels.truth[box].astype(np.uint8)).astype(np.uint8))
    inside = voxels.brain[region]
    for number, (key, scale) in enumerate(scales.items()):
        values = np.where(inside, scores[key][region], np.float32(np.nan))
        scale.fitter.add(values[inside])
        scale.lowest = min(scale.lowest, float(values[inside].min()))
        np.save(f"{stem}-{number}.npy", values)
    return _Kept(case, stem, voxels.spacing, float(voxels.truth.sum()) * voxels.voxel_ml)


def _check(kept: Sequence[_Kept], failures: Sequence[Failure]) -> list[_Kept]:
    """The test cases, of other subjects than those that thresholds are set on."""
    test = [one for one in kept if one.case.use == "test"]
    if not test:
        detail = f"the first failed with: {failures[0].reason}" if failures else "all are used for thresholds"
        msg = f"expected test cases to score, got none; {detail}"
        raise ScoringError(msg)
    shared = {one.case.subject for one in test} & {one.case.subject for one in kept if one.case.use != "test"}
    if shared:
        names = ", ".join(sorted(shared)[:5])
        msg = f"expected thresholds to be set on other subjects than the test cases, got {names} in both; correct the column use"
        raise ScoringError(msg)
    return test


def _entry(key: Key, number: int, kept: Sequence[_Kept], scale: _Scale, given: Mapping[str, float]) -> Entry:
    """Counts and thresholds of one method under one preset."""
    code = scale.code
    records: list[CaseRecord] = []
    others: dict[str, list[tuple[str, ScoreCounts]]] = {"validation": [], "healthy": []}
    for one in kept:
        brain, truth = one.masks()
        region = brain | truth
        values, lesion = one.scores(number, scale), truth[region]
        bearing = np.broadcast_to(truth.any(axis=(1, 2), keepdims=True), truth.shape)[region]
        if one.case.use == "test":
            whole = count_scores(values, lesion, code=code)
            slices = count_scores(values, lesion, bearing, code)
            records.append(CaseRecord(one.case.case, one.case.subject, whole, slices, one.lesion_ml))
        else:
            where = brain[region] & ~bearing if one.case.use == "healthy" else None
            others[one.case.use].append((one.case.case, count_scores(values, lesion, where, code)))
    thresholds = oracle_thresholds(pooled(records), len(records))
    for use, cases in others.items():
        if cases:
            total = sum((counts for _, counts in cases), ScoreCounts.empty(code))
            names, data = [name for name, _ in cases], f"the list's {use} rows"
            set_on = (
                [validation_threshold(total, names, data)]
                if use == "validation"
                else healthy_thresholds(total, names, data)
            )
            thresholds += set_on
    if key[0] in given:
        thresholds.append(Threshold("given", given[key[0]], f"given: {given[key[0]]:g} by the user"))
    return Entry(key[0], key[0], key[1], records, thresholds)


@dataclass(frozen=True)
class _Map:
    """One map of a case, to be cut at thresholds.

    Attributes:
        codes: Of the region's voxels.
        code: Their meaning.
        region: ``(S, H, W)``.
    """

    codes: NDArray[np.uint16]
    code: ScoreCode
    region: NDArray[np.bool_]

    def called(self, threshold: float) -> NDArray[np.bool_]:
        """``(S, H, W)``: true where the score is at least that."""
        found = np.zeros(self.region.shape, bool)
        if threshold < np.inf:
            found[self.region] = self.codes >= self.code.first_code(threshold)
        return found


def _lesion_cases(
    test: Sequence[_Kept], scales: Sequence[_Scale], progress: Callable[[str], None]
) -> Iterator[LesionCase]:
    """The test cases as :func:`look_at_lesions` wants them."""
    for one in test:
        brain, truth = one.masks()
        maps = [
            _Map(scale.code.encode(one.scores(number, scale)), scale.code, brain | truth)
            for number, scale in enumerate(scales)
        ]
        yield LesionCase(truth, one.spacing, [each.called for each in maps])
        progress(one.case.case)
