"""Evaluation: any number of methods on the same voxels of the same cases, into one ScoreTable.

What counts are the voxels of the brain on the working grid, in all slices of the store, with and without lesion.
Lesion voxels outside the brain mask count too, as missed (score 0): a mask must not hide them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from semcycle.errors import ScoringError, SplitError
from semcycle.methods.base import Reconstructed
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.scoring.code_file import CodeFile
from semcycle.scoring.lesion_pass import look_at_lesions, store_cases
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.panels import Panel, RunPanel
from semcycle.scoring.score_table import CaseRecord, Entry, ReconstructionError, ScoreTable, build_table, pooled
from semcycle.scoring.thresholds import healthy_thresholds, oracle_thresholds, validation_threshold
from semcycle.store.slice_store import CaseSlices, SliceStore, voxel_size
from semcycle.training.calibration import Threshold
from semcycle.types import SliceArray, SliceMask

__all__ = ["Contestant", "ScoreTable", "ThresholdData", "evaluate"]


@dataclass(frozen=True)
class Contestant:
    """What is scored.

    Attributes:
        name: In the table.
        method: Name of the method.
        train_subjects: Subjects it has seen; none of them may be tested.
        reconstruct: ``(x (S, H, W), brain (S, H, W))`` -> what the method makes of them.
    """

    name: str
    method: str
    train_subjects: frozenset[str]
    reconstruct: Callable[[SliceArray, SliceMask], Reconstructed]


@dataclass(frozen=True)
class ThresholdData:
    """Other cases than the test cases, to set thresholds on.

    Attributes:
        rule: ``validation``: best Dice on all their slices. ``healthy``: 1, 2 and 5 % false positives on the brain of those
            slices that show no lesion.
        store: Where they lie.
        cases: Contestant -> its cases; a contestant without gets no such threshold.
        name: Of the data, in the table.
    """

    rule: Literal["validation", "healthy"]
    store: SliceStore
    cases: Mapping[str, Sequence[str]]
    name: str


def evaluate(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_ids: Sequence[str],
    *,
    presets: Sequence[str] = ("literal", "baur"),
    progress: Callable[[str], None] = lambda case_id: None,
    thresholds: Sequence[ThresholdData] = (),
    carried: Mapping[tuple[str, str], Sequence[Threshold]] | None = None,
    lesions: bool = True,
    resamples: int = 2000,
) -> ScoreTable:
    """Score contestants on test cases.

    Args:
        contestants: Trained or not; their names are unique.
        store: Slices with truth.
        case_ids: Test cases.
        presets: Post-processings, each with its own rows.
        progress: Called with every finished case.
        thresholds: Where thresholds come from, besides the oracles.
        carried: Contestant and preset -> thresholds that it brings.
        lesions: Whether to count lesions and false alarms and to measure surfaces as well.
        resamples: Of the bootstrap.

    Raises:
        SplitError: A contestant has seen a test subject, or thresholds would be set on one.
        ScoringError: No test case has a lesion, two contestants share a name, or a threshold's data cannot give one.
        StoreError: A case is unknown or damaged.
    """
    _check(contestants, store, case_ids)
    for data in thresholds:
        _check_apart(data, store, case_ids)
    records: dict[tuple[str, str], list[CaseRecord]] = {(one.name, name): [] for one in contestants for name in presets}
    with CodeFile() as codes:
        panels = [
            panel
            for case in case_ids
            if (panel := _score_case(contestants, store, case, presets, records, codes, progress))
        ]
        given = _set_thresholds(contestants, presets, thresholds)
        entries = []
        for one in contestants:
            for preset in presets:
                found = records[one.name, preset]
                brought = (carried or {}).get((one.name, preset), ())
                chosen = [*oracle_thresholds(pooled(found), len(found)), *given[one.name, preset], *brought]
                entries.append(Entry(one.name, one.method, preset, found, chosen))
        if lesions:
            entries = look_at_lesions(entries, store_cases(entries, store, codes))
    try:
        return build_table(entries, panels, resamples=resamples)
    except ScoringError as error:
        msg = f"{store.folder}: {error}"
        raise ScoringError(msg) from error


def _check(contestants: Sequence[Contestant], store: SliceStore, case_ids: Sequence[str]) -> None:
    names = [one.name for one in contestants]
    if len(set(names)) < len(names):
        msg = f"expected contestants of different names, got {', '.join(names)}; rename a run's folder"
        raise ScoringError(msg)
    subjects = {store.subject(case) for case in case_ids}
    for one in contestants:
        shared = sorted(one.train_subjects & subjects)
        if shared:
            msg = (
                f"{one.name}: expected test subjects it has never seen, got {', '.join(shared[:5])} from its training; "
                "score it with the split it was trained with"
            )
            raise SplitError(msg)


def _check_apart(data: ThresholdData, store: SliceStore, case_ids: Sequence[str]) -> None:
    tested = {store.subject(case) for case in case_ids}
    chosen = {data.store.subject(case) for cases in data.cases.values() for case in cases}
    if shared := sorted(tested & chosen):
        msg = (
            f"{data.name}: expected {data.rule} cases of other subjects than the test cases, got {', '.join(shared[:5])} "
            "in both; a threshold set on test subjects is an oracle"
        )
        raise SplitError(msg)


def _score_case(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_id: str,
    presets: Sequence[str],
    records: dict[tuple[str, str], list[CaseRecord]],
    codes: CodeFile,
    progress: Callable[[str], None],
) -> Panel | None:
    """Count one case for everybody; returns the picture of its largest lesion slice, if it has a lesion."""
    case = store.load(case_id)
    x, brain, lesion = _arrays(case)
    region, healthy = brain | lesion, brain & ~lesion
    bearing = lesion.any(axis=(1, 2))
    shown = int(lesion.sum(axis=(1, 2)).argmax())
    runs: dict[str, RunPanel] = {}
    for one in contestants:
        made = one.reconstruct(x, brain)
        difference = np.abs(x - made.image)
        sums = (float(difference[healthy].sum()), float(difference[lesion & brain].sum()))
        error = ReconstructionError(*sums, int(healthy.sum()), int((lesion & brain).sum()))
        scores = {}
        for preset in presets:
            mapped = make_anomaly_map(x, made, brain, preset, voxel_size(case.record))
            whole = count_scores(mapped, lesion, region)
            slices = count_scores(mapped[bearing], lesion[bearing], region[bearing])
            record = CaseRecord(
                case_id, store.subject(case_id), whole, slices, float(case.record.lesion_ml), error=error
            )
            records[one.name, preset].append(record)
            codes.append((one.name, preset, case_id), mapped, region)
            scores[preset] = mapped[shown]
        untrained = one.method == "intensity"  # its black reconstruction is no picture
        part = None if made.tissue is None else made.tissue[shown]
        runs[one.name] = RunPanel(None if untrained else made.image[shown], part, scores)
    progress(case_id)
    if not lesion.any():
        return None
    return Panel(case_id, int(case.slice_index[shown]), x[shown], brain[shown], lesion[shown], runs)


def _set_thresholds(
    contestants: Sequence[Contestant], presets: Sequence[str], thresholds: Sequence[ThresholdData]
) -> dict[tuple[str, str], list[Threshold]]:
    """The thresholds of every contestant and preset that do not come from the test cases."""
    found: dict[tuple[str, str], list[Threshold]] = {(one.name, name): [] for one in contestants for name in presets}
    for data in thresholds:
        for one in contestants:
            cases = data.cases.get(one.name, ())
            if not cases:
                continue
            counts = dict.fromkeys(presets, ScoreCounts.empty())
            for case in cases:
                for preset, some in _count_for_threshold(one, data, case, presets):
                    counts[preset] += some
            for preset in presets:
                if data.rule == "validation":
                    found[one.name, preset].append(validation_threshold(counts[preset], cases, data.name))
                else:
                    found[one.name, preset] += healthy_thresholds(counts[preset], cases, data.name)
    return found


def _count_for_threshold(
    one: Contestant, data: ThresholdData, case_id: str, presets: Sequence[str]
) -> Iterator[tuple[str, ScoreCounts]]:
    case = data.store.load(case_id)
    x, brain, lesion = _arrays(case)
    region = brain | lesion if data.rule == "validation" else brain & ~lesion.any(axis=(1, 2), keepdims=True)
    made = one.reconstruct(x, brain)
    for preset in presets:
        mapped = make_anomaly_map(x, made, brain, preset, voxel_size(case.record))
        yield preset, count_scores(mapped, lesion, region)


def _arrays(case: CaseSlices) -> tuple[SliceArray, SliceMask, SliceMask]:
    return case.image.astype(np.float32), case.brain > 0, case.lesion > 0
