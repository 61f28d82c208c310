"""Thresholds with provenance: where a score is cut into lesion and healthy, and who chose the place.

A threshold is honest when it comes from other subjects than those it is judged on. One that was found on the test
cases, with their truth or only with their healthy voxels, is an oracle and says so in every row that uses it. `semcycle
score --threshold-from` names the cases that others are set on:

=====================  ==============================================================================================
``validation``         the cases each run held out of its training, in the scored store: best Dice
``validation=STORE``   all cases of another store (or of the same) that neither training nor test has: best Dice
``healthy``            the lesion-free slices of the held-out cases: 1, 2 and 5 % false positives
``healthy=STORE``      the lesion-free slices of another store's cases: 1, 2 and 5 % false positives
=====================  ==============================================================================================

A method that was not trained takes the cases of all runs. A run that carries calibrated thresholds brings them by
itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from semcycle.errors import ScoringError, SplitError
from semcycle.scoring.metrics.counts import ScoreCounts
from semcycle.scoring.metrics.metrics import best_dice, threshold_at_fpr
from semcycle.store.slice_store import SliceStore
from semcycle.training.calibration import RATES, Threshold

if TYPE_CHECKING:
    from semcycle.training.checkpoint import Checkpoint

SOURCES = ("validation", "healthy")


@dataclass(frozen=True)
class ThresholdRule:
    """What a threshold's rule is called and explained as.

    Attributes:
        label: For a heading: Dice at ...
        meaning: The threshold, for a sentence.
        main: Whether lesions are looked at there, and cases have a column on the page: measuring surfaces takes a
            hundred times longer than counting voxels.
    """

    label: str
    meaning: str
    main: bool = True


def _by_rate(rule: str, label: str, meaning: str, main: float | None = None) -> dict[str, ThresholdRule]:
    """A rule for every rate."""
    percents = {rate: f"{100 * rate:g}" for rate in RATES}
    return {
        f"{rule}_{percent}": ThresholdRule(label.format(percent), meaning.format(percent), rate == main)
        for rate, percent in percents.items()
    }


RULES = {
    "validation": ThresholdRule("validation threshold", "that is best on validation cases, as a user could set it"),
    **_by_rate("healthy", "{} % healthy FPR", "that {} % of the voxels of other, healthy slices reach", RATES[0]),
    **_by_rate("model", "{} % of the model's FPR", "that the model carries for {} % of healthy voxels", RATES[0]),
    "given": ThresholdRule("given threshold", "that the user gave"),
    "oracle": ThresholdRule("pooled oracle", "that is best for all test cases together: an oracle"),
    **_by_rate("fpr", "{} % FPR", "that {} % of the healthy voxels of the test cases reach: an oracle"),
}
"""Ending of the metrics at a threshold -> its rule."""


def oracle_thresholds(counts: ScoreCounts, cases: int) -> list[Threshold]:
    """The thresholds that only somebody with the test set can know: best Dice, and fixed FPR on its healthy voxels.

    Args:
        counts: Pooled over the test cases.
        cases: How many they are.
    """
    best = Threshold("oracle", best_dice(counts).threshold, f"oracle: best pooled Dice on these {cases} test cases")
    return [best, *_at_rates("fpr", counts, f"oracle: {{}} % FPR on the healthy voxels of these {cases} test cases")]


def set_thresholds(rule: str, counts: ScoreCounts, cases: Sequence[str], data: str) -> list[Threshold]:
    """The thresholds that other cases than the test cases give.

    Args:
        rule: ``validation``: best pooled Dice. ``healthy``: what a given share of healthy voxels passes.
        counts: Pooled over those cases.
        cases: Their names.
        data: Where they lie, in words: a store, a folder.

    Raises:
        ScoringError: They show no lesion, or no healthy voxel.
    """
    if rule == "healthy":
        if not counts.negatives.any():
            msg = (
                f"{data}: expected healthy voxels to set a threshold on, got none in {_name_cases(cases)}; name others"
            )
            raise ScoringError(msg)
        return _at_rates("healthy", counts, f"healthy: {{}} % FPR on {_name_cases(cases)} of {data}")
    best = best_dice(counts)
    if np.isnan(best.threshold):
        msg = f"{data}: expected a lesion in the validation cases, got none in {_name_cases(cases)}; name others"
        raise ScoringError(msg)
    source = f"validation: best pooled Dice on {_name_cases(cases)} of {data}"
    return [Threshold("validation", best.threshold, source)]


def check_apart(rule: str, data: str, tested: Iterable[str], chosen: Iterable[str]) -> None:
    """Refuse to set thresholds on subjects that are tested.

    Raises:
        SplitError: Some are.
    """
    if shared := sorted(set(tested) & set(chosen)):
        msg = (
            f"{data}: expected {rule} cases of other subjects than the test cases, got {', '.join(shared[:5])} "
            "in both; a threshold set on test subjects is an oracle"
        )
        raise SplitError(msg)


@dataclass(frozen=True)
class ThresholdData:
    """Other cases than the test cases, to set thresholds on.

    Attributes:
        rule: ``validation``: best Dice on all their slices. ``healthy``: 1, 2 and 5 % false positives on the brain of
            those slices that show no lesion.
        store: Where they lie.
        cases: Contestant -> its cases; a contestant without gets no such threshold.
        name: Of the data, in the table.
    """

    rule: Literal["validation", "healthy"]
    store: SliceStore
    cases: Mapping[str, Sequence[str]]
    name: str


def threshold_data(
    words: Sequence[str],
    runs: Mapping[str, Checkpoint],
    untrained: Sequence[str],
    store: SliceStore,
    case_ids: Sequence[str],
) -> list[ThresholdData]:
    """Find the cases that thresholds shall be set on.

    Args:
        words: As in the module's table.
        runs: Name -> trained run.
        untrained: Names of methods that learned nothing.
        store: The scored store.
        case_ids: Test cases.

    Raises:
        ScoringError: A word is none of these, or a run has no such case.
        StoreError: No store is there.
    """
    tested = {store.subject(case) for case in case_ids}
    data = []
    for word in words:
        rule, equals, folder = word.partition("=")
        if rule not in SOURCES or bool(equals) != bool(folder):
            msg = f"expected --threshold-from {', '.join(SOURCES)}, or one of them with =STORE, got {word!r}"
            raise ScoringError(msg)
        source = SliceStore(Path(folder)) if folder else store
        cases = {
            name: _others(run, source, tested) if folder else _held_out(name, run, store) for name, run in runs.items()
        }
        everybody = sorted({case for own in cases.values() for case in own})
        if not runs and folder:
            everybody = [case for case in source.case_ids if source.subject(case) not in tested]
        cases |= dict.fromkeys(untrained, everybody)
        for name, own in cases.items():
            if not own:
                msg = (
                    f"{name}: expected {rule} cases in {source.folder}, got none that neither training nor test has; "
                    f"train with training.validation_share above 0, or name a store: --threshold-from {rule}=STORE"
                )
                raise ScoringError(msg)
        name = f"{source.folder.resolve().name} (store {source.hash[:12]})"
        data.append(ThresholdData(cast(Literal["validation", "healthy"], rule), source, cases, name))
    return data


def carried_thresholds(
    runs: Mapping[str, Checkpoint], presets: Sequence[str], store: SliceStore, case_ids: Sequence[str]
) -> dict[tuple[str, str], list[Threshold]]:
    """The thresholds that calibrated runs carry, by run and preset; labelled oracle where they saw a test subject."""
    tested = {store.subject(case) for case in case_ids}
    carried: dict[tuple[str, str], list[Threshold]] = {}
    for name, run in runs.items():
        if run.calibration is None:
            continue
        seen = tested & set(run.calibration.subjects) or set(case_ids) & set(run.calibration.cases)
        kind = "oracle: saw test subjects," if seen else "healthy:"
        source = f"{kind} {{}} % FPR on {run.calibration.source}, carried by the model"
        for preset in presets:
            carried[name, preset] = [
                _threshold("model", healthy.rate, healthy.value, source)
                for healthy in run.calibration.thresholds.get(preset, [])
            ]
    return carried


def _threshold(rule: str, rate: float, value: float, source: str) -> Threshold:
    percent = f"{100 * rate:g}"
    return Threshold(f"{rule}_{percent}", value, source.replace("{}", percent, 1))


def _at_rates(rule: str, counts: ScoreCounts, source: str) -> list[Threshold]:
    return [_threshold(rule, rate, threshold_at_fpr(counts, rate), source) for rate in RATES]


def _held_out(name: str, run: Checkpoint, store: SliceStore) -> list[str]:
    cases = list(run.record.get("validation_cases", []))
    missing = [case for case in cases if case not in store.case_ids]
    if missing:
        msg = (
            f"{name}: expected its validation cases in {store.folder}, got none named {missing[0]}; name the store it "
            "was trained on: --threshold-from validation=STORE"
        )
        raise ScoringError(msg)
    return cases


def _others(run: Checkpoint, store: SliceStore, tested: set[str]) -> list[str]:
    """Cases of subjects that the run did not learn from and that are not tested."""
    held_out = {store.subject(case) for case in run.record.get("validation_cases", []) if case in store.case_ids}
    learned = set(run.record["subjects"]) - held_out
    return [case for case in store.case_ids if store.subject(case) not in learned | tested]


def _name_cases(cases: Sequence[str]) -> str:
    """How many cases, and which, if they are few."""
    listed = ", ".join(cases[:3]) + (", ..." if len(cases) > 3 else "")
    return f"{len(cases)} case{'s' * (len(cases) != 1)} ({listed})"
