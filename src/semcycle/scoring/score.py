"""The one evaluator: cases with maps in, a table out, whoever made the maps.

1. Every case is made once, by this process or a worker; its scores wait in files (:mod:`.waiting`), its largest lesion
   slice is kept for a picture, and what its scores add to the code is merged.
2. All are counted, whole and in their lesion-bearing slices, and the thresholds are set: oracles on the test cases,
   others on the cases that came for that, and those that runs and users bring.
3. The maps are cut there, and lesions, false alarms and surfaces are looked at; the truth of a case is labelled once.

What counts are the voxels of the brain, in all slices, with and without lesion. Lesion voxels outside the brain count
too, as missed: they get the lowest score of the run in any brain, since a mask must not hide them. Counts are whole
numbers and cases keep their order, so that a table is the same bytes whoever worked on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import Failure, ScoringError, WorkerError, catch_failure
from semcycle.files import open_scratch
from semcycle.processes import Workers, map_jobs
from semcycle.scoring.cases import CaseSource, Key, ScoredCase, ScoreJob
from semcycle.scoring.entries import CallScores, CaseScores, Entry
from semcycle.scoring.metrics.codes import CodeFitter, ScoreCode
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
from semcycle.scoring.waiting import CodedRange, WaitingCase, store_case
from semcycle.training.calibration import Threshold
from semcycle.types import SliceMask

FROC_RATES = tuple(np.geomspace(1e-4, 0.2, 14).tolist())
"""False-positive rates of the voxels, on all cases together, that the thresholds of the FROC curve let through."""
_S = TypeVar("_S")
_J = TypeVar("_J")
_R = TypeVar("_R")


def score_cases(
    source: CaseSource,
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
    workers: Workers = 1,
    read: Callable[[str], None] = lambda case: None,
    looked: Callable[[str], None] = lambda case: None,
) -> tuple[ScoreTable, list[Failure]]:
    """Score maps.

    Args:
        source: Of the cases, each with the maps of all runs and presets; those that only set thresholds may have some.
        methods: Run -> name of its method, in the order of the table.
        presets: Post-processings, in the order of the table.
        code: Of all scores; without, each run and preset gets one that is fitted to its scores, and is shown in its own
            range.
        brought: Run and preset -> thresholds that are known beforehand.
        lesions: Whether to count lesions and false alarms and to measure surfaces as well.
        rule: What counts as a lesion, a call and a hit; the default of :class:`ComponentRule` without.
        resamples: Of the bootstrap.
        pictures: Cases that get one, at most.
        folder: Where the temporary files are made; the system's place without. Workers of a cluster must see it.
        workers: Processes, or a Dask cluster.
        read: Called with every case that was made, or failed.
        looked: Called with every case that was looked at for its lesions.

    Returns:
        The table, and the cases that are not in it: what fails for one run is left out for all.

    Raises:
        ScoringError: There is no test case, none has a lesion, or a threshold's data cannot give one.
    """
    keys = {(run, preset): method for run, method in methods.items() for preset in presets}
    with open_scratch("maps-waiting", folder) as scratch:
        gathered = _Gathered(pictures)
        jobs = [(number, job) for number, job in enumerate(source.jobs)]
        for job, outcome in map_jobs(_make, (source.make, source.shared, scratch, code), jobs, workers):
            gathered.add(job, outcome)
            read(job[1].case)
        failures = gathered.failures
        if not any(case.facts.use == "test" for case in gathered.waiting):
            detail = (
                f"; the first failed with: {failures[0].reason}" if failures else "; check the split or the folders"
            )
            msg = f"expected test cases to score, got none{detail}"
            raise ScoringError(msg)
        ranges = gathered.ranges(code)
        counted = _map_cases(_count, ranges, gathered.waiting, workers, failures)
        while True:
            entries = _build_entries(keys, counted, ranges, brought or {})
            if not lesions:
                break
            cuts = {(entry.run, entry.preset): _find_cuts(entry) for entry in entries}
            tested = [case for case, _ in counted if case.facts.use == "test"]
            shared = (ranges, cuts, rule or ComponentRule())
            seen = _map_cases(_look, shared, tested, workers, failures, looked)
            if len(seen) == len(tested):
                entries = [_add_calls(entry, [calls for _, calls in seen]) for entry in entries]
                break
            kept = {id(case) for case, _ in seen}  # a worker was killed at a case: all is cut anew without it
            counted = [(case, parts) for case, parts in counted if case.facts.use != "test" or id(case) in kept]
    panels = [panel for name, panel in gathered.panels() if name not in {failure.case_id for failure in failures}]
    if code is None:
        rescale_panels(panels, {(entry.run, entry.preset): entry.counts for entry in entries})
    return build_table(entries, panels, resamples=resamples), failures


@dataclass
class _Outcome:
    """Of a case that was made."""

    waiting: WaitingCase
    fitters: dict[Key, CodeFitter]
    panel: Panel | None


def _make(
    shared: tuple[Callable[[Any, Any], ScoredCase], Any, Path, ScoreCode | None], job: tuple[int, ScoreJob]
) -> _Outcome | Failure:
    """Make a case, draw its panel and let its scores wait. What is wrong with the case is its failure, not more."""
    (make, common, scratch, code), (number, what) = shared, job
    failures: list[Failure] = []
    with catch_failure(what.case, failures, what.files):
        case = make(common, what.what)
    if failures:
        return failures[0]
    waiting, fitters = store_case(case, scratch / str(number), code)
    return _Outcome(waiting, fitters, draw_panel(case) if case.use == "test" else None)


class _Gathered:
    """What all cases give, in whatever order they come."""

    def __init__(self, pictures: int | None) -> None:
        self.failures: list[Failure] = []
        self._pictures = pictures
        self._waiting: dict[int, WaitingCase] = {}
        self._panels: dict[int, tuple[str, Panel]] = {}
        self._fitters: dict[Key, CodeFitter] = defaultdict(CodeFitter)

    def add(self, job: tuple[int, ScoreJob], outcome: _Outcome | Failure | WorkerError) -> None:
        number, what = job
        if isinstance(outcome, WorkerError):
            outcome = Failure(what.case, str(outcome), tuple(file for file in what.files if file))
        if isinstance(outcome, Failure):
            self.failures.append(outcome)
            return
        self._waiting[number] = outcome.waiting
        for key, fitter in outcome.fitters.items():
            self._fitters[key].merge(fitter)
        if outcome.panel is not None:
            self._panels[number] = (what.case, outcome.panel)
            if self._pictures is not None and len(self._panels) > self._pictures:
                del self._panels[max(self._panels)]

    @property
    def waiting(self) -> list[WaitingCase]:
        """In the order of their jobs."""
        return [self._waiting[number] for number in sorted(self._waiting)]

    def panels(self) -> list[tuple[str, Panel]]:
        """Of the first cases with a lesion."""
        return [self._panels[number] for number in sorted(self._panels)]

    def ranges(self, code: ScoreCode | None) -> dict[Key, CodedRange]:
        """What every run and preset is coded with."""
        if code is None:
            return {key: CodedRange(fitter.fit(), fitter.lowest) for key, fitter in self._fitters.items()}
        return {key: CodedRange(code, np.float32(0)) for case in self.waiting for key in case.keys}


def _map_cases(
    call: Callable[[_S, WaitingCase], _R],
    shared: _S,
    cases: Sequence[WaitingCase],
    workers: Workers,
    failures: list[Failure],
    done: Callable[[str], None] = lambda case: None,
) -> list[tuple[WaitingCase, _R]]:
    """Cases in their order with what was made of them; a case that ended its worker is a failure."""
    outcomes: dict[int, _R] = {}
    for (number, case), outcome in map_jobs(_call_numbered, (call, shared), list(enumerate(cases)), workers):
        if isinstance(outcome, WorkerError):
            failures.append(Failure(case.facts.case, str(outcome)))
        else:
            outcomes[number] = outcome
            done(case.facts.case)
    return [(cases[number], outcomes[number]) for number in sorted(outcomes)]


def _call_numbered(shared: tuple[Callable[[_S, _J], _R], _S], job: tuple[int, _J]) -> _R:
    call, common = shared
    return call(common, job[1])


_Counted = Sequence[tuple[WaitingCase, Mapping[Key, tuple[ScoreCounts, ScoreCounts | None]]]]


def _count(ranges: Mapping[Key, CodedRange], case: WaitingCase) -> dict[Key, tuple[ScoreCounts, ScoreCounts | None]]:
    """Counts of a case: of a test case whole and in its lesion-bearing slices, of others in what sets thresholds."""
    case.encode(ranges)
    brain, truth = case.masks()
    region = brain | truth
    lesion = truth[region]
    bearing = np.broadcast_to(truth.any(axis=(1, 2), keepdims=True), region.shape)[region]
    inside = ~bearing if case.facts.use == "healthy" else np.ones_like(bearing)
    counts: dict[Key, tuple[ScoreCounts, ScoreCounts | None]] = {}
    for key in case.keys:
        codes, code = case.codes(key), ranges[key].code
        if case.facts.use == "test":
            counts[key] = count_codes(codes, lesion, code), count_codes(codes[bearing], lesion[bearing], code)
        else:
            counts[key] = count_codes(codes[inside], lesion[inside], code), None
    return counts


def _build_entries(
    keys: Mapping[Key, str],
    counted: _Counted,
    ranges: Mapping[Key, CodedRange],
    brought: Mapping[Key, Sequence[Threshold]],
) -> list[Entry]:
    """Runs and presets with the counts of their cases and the thresholds that these and others give."""
    scored: dict[Key, list[CaseScores]] = defaultdict(list)
    others: dict[Key, dict[tuple[str, str], dict[str, ScoreCounts]]] = defaultdict(lambda: defaultdict(dict))
    for case, parts in counted:
        facts = case.facts
        for key, (whole, slices) in parts.items():
            for counts in filter(None, (whole, slices)):
                counts.code = ranges[key].code  # one object for all, also for what other processes counted
            if facts.use == "test":
                errors = facts.errors.get(key[0])
                scored[key].append(CaseScores(facts.case, facts.subject, whole, slices, facts.lesion_ml, errors=errors))
            else:
                others[key][facts.use, facts.source][facts.case] = whole
    entries = []
    for key, method in keys.items():
        thresholds = oracle_thresholds(pool([case.counts for case in scored[key]]), len(scored[key]))
        for (use, source), of_cases in others[key].items():
            thresholds += set_thresholds(use, pool(list(of_cases.values())), list(of_cases), source)
        entries.append(Entry(key[0], method, key[1], scored[key], [*thresholds, *brought.get(key, ())]))
    return entries


@dataclass(frozen=True)
class _Cuts:
    """Thresholds at which an entry's maps are cut: by rule, and for the FROC curve."""

    rules: Mapping[str, float]
    froc: Sequence[float]


def _find_cuts(entry: Entry) -> _Cuts:
    rules = {
        threshold.rule: threshold.value
        for threshold in entry.thresholds
        if threshold.rule in RULES and RULES[threshold.rule].main and not np.isnan(threshold.value)
    }
    return _Cuts(rules, [threshold_at_fpr(entry.counts, rate) for rate in FROC_RATES])


_Calls = dict[Key, tuple[dict[str, CallScores], NDArray[np.int64]]]


def _look(shared: tuple[Mapping[Key, CodedRange], Mapping[Key, _Cuts], ComponentRule], case: WaitingCase) -> _Calls:
    """What the components of a case's thresholded maps say, by rule, and its part of the FROC curves."""
    ranges, cuts, rule = shared
    brain, truth = case.masks()
    lesions = find_lesions(truth, case.facts.spacing, rule)
    calls: _Calls = {}
    for key, each in cuts.items():
        cut = case.cutter(key, ranges[key].code, brain | truth)
        by_rule = {name: _score_calls(cut(value), truth, lesions) for name, value in each.rules.items()}
        calls[key] = by_rule, froc_counts(map(cut, each.froc), lesions)
    return calls


def _add_calls(entry: Entry, calls: Iterable[_Calls]) -> Entry:
    parts = [of_case[entry.run, entry.preset] for of_case in calls]
    cases = [replace(scores, calls=by_rule) for scores, (by_rule, _) in zip(entry.cases, parts, strict=True)]
    return replace(entry, cases=cases, froc=froc_curve([counts for _, counts in parts]))


def _score_calls(called: SliceMask, truth: SliceMask, lesions: Lesions) -> CallScores:
    calls = find_calls(called, lesions)
    return CallScores(match_calls(calls, lesions), surface_distances(calls.mask, truth, lesions.spacing))
