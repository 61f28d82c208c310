"""Where thresholds come from, as `semcycle score --threshold-from` names it: whose cases, checked against training and test.

=====================  ==============================================================================================
``validation``         the cases each run held out of its training, in the scored store: best Dice
``validation=STORE``   all cases of another store (or of the same) that neither training nor test has: best Dice
``healthy``            the lesion-free slices of the held-out cases: 1, 2 and 5 % false positives
``healthy=STORE``      the lesion-free slices of another store's cases: 1, 2 and 5 % false positives
=====================  ==============================================================================================

A method that was not trained takes the cases of all runs. A run that carries calibrated thresholds brings them by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

from semcycle.errors import ScoringError
from semcycle.scoring.evaluate import ThresholdData
from semcycle.store.slice_store import SliceStore
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import Checkpoint

RULES = ("validation", "healthy")


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
    found = []
    for word in words:
        rule, equals, folder = word.partition("=")
        if rule not in RULES or bool(equals) != bool(folder):
            msg = f"expected --threshold-from {', '.join(RULES)}, or one of them with =STORE, got {word!r}"
            raise ScoringError(msg)
        other = SliceStore(Path(folder)) if folder else store
        tested = {store.subject(case) for case in case_ids}
        cases = {
            name: _others(run, other, tested) if folder else _held_out(name, run, store) for name, run in runs.items()
        }
        everybody = sorted({case for some in cases.values() for case in some})
        if not runs and folder:
            everybody = [case for case in other.case_ids if other.subject(case) not in tested]
        for name, some in [*cases.items(), *((name, everybody) for name in untrained)]:
            if not some:
                msg = f"{name}: expected {rule} cases in {other.folder}, got none that neither training nor test has; {_remedy(rule)}"
                raise ScoringError(msg)
        named = cases | dict.fromkeys(untrained, everybody)
        found.append(ThresholdData(cast(Literal["validation", "healthy"], rule), other, named, _name(other)))
    return found


def carried_thresholds(
    runs: Mapping[str, Checkpoint], presets: Sequence[str], store: SliceStore, case_ids: Sequence[str]
) -> dict[tuple[str, str], list[Threshold]]:
    """The thresholds that calibrated runs carry, by run and preset; labelled oracle where they saw a test subject."""
    tested = {store.subject(case) for case in case_ids}
    found: dict[tuple[str, str], list[Threshold]] = {}
    for name, run in runs.items():
        if run.calibration is None:
            continue
        seen = tested & set(run.calibration.subjects) or set(case_ids) & set(run.calibration.cases)
        kind = "oracle: saw test subjects," if seen else "healthy:"
        for preset in presets:
            found[name, preset] = [
                Threshold(
                    f"model_{100 * one.rate:g}",
                    one.value,
                    f"{kind} {100 * one.rate:g} % FPR on {run.calibration.source}, carried by the model",
                )
                for one in run.calibration.thresholds.get(preset, [])
            ]
    return found


def _held_out(name: str, run: Checkpoint, store: SliceStore) -> list[str]:
    cases = list(run.record.get("validation_cases", []))
    missing = [case for case in cases if case not in store.case_ids]
    if missing:
        msg = (
            f"{name}: expected its validation cases in {store.folder}, got none named {missing[0]}; name the store it was "
            "trained on: --threshold-from validation=STORE"
        )
        raise ScoringError(msg)
    return cases


def _others(run: Checkpoint, store: SliceStore, tested: set[str]) -> list[str]:
    """Cases of subjects that the run did not learn from and that are not tested."""
    held_out = {store.subject(case) for case in run.record.get("validation_cases", []) if case in store.case_ids}
    learned = set(run.record["subjects"]) - held_out
    return [case for case in store.case_ids if store.subject(case) not in learned | tested]


def _name(store: SliceStore) -> str:
    return f"{store.folder.resolve().name} (store {store.hash[:12]})"


def _remedy(rule: str) -> str:
    return f"train with training.validation_share above 0, or name a store: --threshold-from {rule}=STORE"
