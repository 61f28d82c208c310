"""The one evaluator: cases with maps in, a table out, whoever made the maps.

1. Every case comes once; its codes wait on disk (:mod:`.cases`), its largest lesion slice is kept for a picture.
2. All are counted, whole and in their lesion-bearing slices, and the thresholds are set: oracles on the test cases,
   others on the cases that came for that, and those that runs and users bring.
3. The maps are cut there, and lesions, false alarms and surfaces are looked at; the truth of a case is labelled once.

What counts are the voxels of the brain, in all slices, with and without lesion. Lesion voxels outside the brain count
too, as missed: they get the lowest score of the run in any brain, since a mask must not hide them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.scoring.cases import Key, ScoredCase, WaitingCases
from semcycle.scoring.entries import CallScores, CaseScores, Entry
from semcycle.scoring.metrics.codes import ScoreCode
from semcycle.scoring.metrics.counts import ScoreCounts, count_codes, pool
from semcycle.scoring.metrics.lesions import (
    ComponentRule,
    Lesions,
    find_calls,
    find_lesions,
    froc_counts,
    froc_curve,
    match_calls,
)
from semcycle.scoring.metrics.metrics import threshold_at_fpr
from semcycle.scoring.metrics.surface import surface_distances
from semcycle.scoring.panels import Panel, draw_panel, rescale_panels
from semcycle.scoring.table import ScoreTable, build_table
from semcycle.scoring.thresholds import RULES, oracle_thresholds, set_thresholds
from semcycle.training.calibration import Threshold
from semcycle.types import SliceMask

FROC_RATES = tuple(np.geomspace(1e-4, 0.2, 14).tolist())
"""False-positive rates of the voxels, on all cases together, that the thresholds of the FROC curve let through."""


def score_cases(
    cases: Iterable[ScoredCase],
    methods: Mapping[str, str],
    presets: Sequence[str],
    *,
    code: ScoreCode | None = None,
    brought: Mapping[Key, Sequence[Threshold]] | None = None,
    lesions: bool = True,
    rule: ComponentRule | None = None,
    resamples: int = 2000,
    pictures: int | None = None,
    folder: Path | None = None,
    looked: Callable[[str], None] = lambda case: None,
) -> ScoreTable:
    """Score maps.

    Args:
        cases: Each with the maps of all runs and presets; cases that only set thresholds may have some.
        methods: Run -> name of its method, in the order of the table.
        presets: Post-processings, in the order of the table.
        code: Of all scores; without, each run and preset gets one that is fitted to its scores, and is shown in its own
            range.
        brought: Run and preset -> thresholds that are known beforehand.
        lesions: Whether to count lesions and false alarms and to measure surfaces as well.
        rule: What counts as a lesion, a call and a hit; the default of :class:`ComponentRule` without.
        resamples: Of the bootstrap.
        pictures: Cases that get one, at most.
        folder: Where the temporary file is made; the system's place without.
        looked: Called with every case that was looked at for its lesions.

    Raises:
        ScoringError: There is no test case, none has a lesion, or a threshold's data cannot give one.
    """
    panels: list[Panel] = []
    with WaitingCases(code, folder) as waiting:
        for case in cases:
            waiting.append(case)
            wanted = case.use == "test" and (pictures is None or len(panels) < pictures)
            if wanted and (panel := draw_panel(case)):
                panels.append(panel)
        keys = {(run, preset): method for run, method in methods.items() for preset in presets}
        scored, others = _count(waiting)
        if not scored:
            msg = "expected test cases to score, got none; check the split or the folders"
            raise ScoringError(msg)
        entries = []
        for key, method in keys.items():
            thresholds = oracle_thresholds(pool([case.counts for case in scored[key]]), len(scored[key]))
            for (use, source), counts in others[key].items():
                thresholds += set_thresholds(use, pool(list(counts.values())), list(counts), source)
            entries.append(Entry(key[0], method, key[1], scored[key], [*thresholds, *(brought or {}).get(key, ())]))
        if lesions:
            entries = _look_at_lesions(entries, waiting, rule or ComponentRule(), looked)
    if code is None:
        rescale_panels(panels, {(entry.run, entry.preset): entry.counts for entry in entries})
    return build_table(entries, panels, resamples=resamples)


def _count(
    waiting: WaitingCases,
) -> tuple[dict[Key, list[CaseScores]], dict[Key, dict[tuple[str, str], dict[str, ScoreCounts]]]]:
    """Counts of the test cases; and of the others, by use and source, by case."""
    scored: dict[Key, list[CaseScores]] = defaultdict(list)
    others: dict[Key, dict[tuple[str, str], dict[str, ScoreCounts]]] = defaultdict(lambda: defaultdict(dict))
    for case in waiting:
        region = case.brain | case.truth
        lesion = case.truth[region]
        bearing = np.broadcast_to(case.truth.any(axis=(1, 2), keepdims=True), region.shape)[region]
        for key in waiting.keys(case):
            codes, code = waiting.codes(case, key), waiting.code(key)
            if case.use == "test":
                whole, slices = count_codes(codes, lesion, code), count_codes(codes[bearing], lesion[bearing], code)
                errors = case.errors.get(key[0])
                scored[key].append(CaseScores(case.case, case.subject, whole, slices, case.lesion_ml, errors=errors))
            else:
                inside = ~bearing if case.use == "healthy" else np.ones_like(bearing)
                others[key][case.use, case.source][case.case] = count_codes(codes[inside], lesion[inside], code)
    return scored, others


def _look_at_lesions(
    entries: Sequence[Entry], waiting: WaitingCases, rule: ComponentRule, looked: Callable[[str], None]
) -> list[Entry]:
    """Add to every case what the components of its thresholded map say, and to every entry its FROC curve."""
    cuts = [[threshold_at_fpr(entry.counts, rate) for rate in FROC_RATES] for entry in entries]
    calls: list[list[dict[str, CallScores]]] = [[] for _ in entries]
    froc: list[list[NDArray[np.int64]]] = [[] for _ in entries]
    for case in waiting:
        if case.use != "test":
            continue
        lesions = find_lesions(case.truth, case.spacing, rule)
        for number, entry in enumerate(entries):
            cut = waiting.cutter(case, (entry.run, entry.preset))
            calls[number].append(
                {
                    threshold.rule: _score_calls(cut(threshold.value), case.truth, lesions)
                    for threshold in entry.thresholds
                    if threshold.rule in RULES and RULES[threshold.rule].main and not np.isnan(threshold.value)
                }
            )
            froc[number].append(froc_counts(map(cut, cuts[number]), lesions))
        looked(case.case)
    return [
        replace(
            entry,
            cases=[replace(scores, calls=found) for scores, found in zip(entry.cases, parts, strict=True)],
            froc=froc_curve(curves),
        )
        for entry, parts, curves in zip(entries, calls, froc, strict=True)
    ]


def _score_calls(called: SliceMask, truth: SliceMask, lesions: Lesions) -> CallScores:
    calls = find_calls(called, lesions)
    return CallScores(match_calls(calls, lesions), surface_distances(calls.mask, truth, lesions.spacing))
