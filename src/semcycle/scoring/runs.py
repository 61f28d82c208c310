"""Scores of runs and untrained methods over a store: the work of `semcycle score`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from semcycle.errors import Failure, ScoringError, SplitError
from semcycle.methods.base import Reconstructed
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.prediction.prior import HealthyPrior
from semcycle.processes import Workers
from semcycle.scoring.cases import CaseSource, Key, ScoredCase, ScoreJob, Use
from semcycle.scoring.metrics.codes import UNIT
from semcycle.scoring.metrics.metrics import ErrorSums
from semcycle.scoring.score import score_cases
from semcycle.scoring.table import ScoreTable
from semcycle.scoring.thresholds import ThresholdData, check_apart
from semcycle.store.slice_store import SliceStore, voxel_size
from semcycle.training.calibration import Threshold
from semcycle.types import SliceArray, SliceMask

UNTRAINED = "intensity"
"""Method whose black reconstruction is no picture."""


@dataclass(frozen=True)
class Contestant:
    """What is scored.

    Attributes:
        name: In the table.
        method: Name of the method.
        train_subjects: Subjects it has seen; none of them may be tested.
        reconstruct: ``(x (S, H, W), brain (S, H, W))`` -> what the method makes of them. For several processes it can
            be pickled.
        prior: Its healthy prior, for presets that need one.
    """

    name: str
    method: str
    train_subjects: frozenset[str]
    reconstruct: Callable[[SliceArray, SliceMask], Reconstructed]
    prior: HealthyPrior | None = None


def score_runs(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_ids: Sequence[str],
    *,
    presets: Sequence[str] = ("literal", "baur"),
    progress: Callable[[str], None] = lambda case_id: None,
    thresholds: Sequence[ThresholdData] = (),
    carried: Mapping[Key, Sequence[Threshold]] | None = None,
    lesions: bool = True,
    resamples: int = 2000,
    all_voxels: bool = False,
    scratch: Path | None = None,
    workers: Workers | None = None,
) -> tuple[ScoreTable, list[Failure]]:
    """Score contestants on test cases: the voxels of the brain on the working grid, in all slices of the store.

    Args:
        contestants: Trained or not; their names are unique.
        store: Slices with truth.
        case_ids: Test cases.
        presets: Post-processings, each with its own rows.
        progress: Called with every finished case.
        thresholds: Where thresholds come from, besides the oracles: each rule at most once.
        carried: Contestant and preset -> thresholds that it brings.
        lesions: Whether to count lesions and false alarms and to measure surfaces as well.
        resamples: Of the bootstrap.
        all_voxels: Count the background of these slices too, as healthy voxels of score 0 (A22).
        scratch: Where temporary files are made; the system's place without.
        workers: Processes with one thread each, or a Dask cluster; ``None`` for this process with all its threads.

    Returns:
        The table, and the cases that are not in it, such as damaged ones.

    Raises:
        SplitError: A contestant has seen a test subject, or thresholds would be set on one.
        ScoringError: No test case has a lesion, two contestants share a name, or a threshold's data cannot give one.
        StoreError: A case is unknown.
    """
    _check(contestants, store, case_ids, thresholds)
    common = _Common(contestants, presets, all_voxels, None if workers is None else 1)
    try:
        return score_cases(
            CaseSource(_make_case, common, list(_jobs(contestants, store, case_ids, thresholds))),
            {contestant.name: contestant.method for contestant in contestants},
            presets,
            code=UNIT,
            brought=carried,
            lesions=lesions,
            resamples=resamples,
            folder=scratch,
            workers=workers or 1,
            read=progress,
        )
    except ScoringError as error:
        msg = f"{store.folder}: {error}"
        raise ScoringError(msg) from error


def _check(
    contestants: Sequence[Contestant], store: SliceStore, case_ids: Sequence[str], thresholds: Sequence[ThresholdData]
) -> None:
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        msg = f"expected contestants of different names, got {', '.join(names)}; rename a run's folder"
        raise ScoringError(msg)
    subjects = {store.subject(case) for case in case_ids}  # raises for an unknown case
    for contestant in contestants:
        shared = sorted(contestant.train_subjects & subjects)
        if shared:
            msg = (
                f"{contestant.name}: expected test subjects it has never seen, got {', '.join(shared[:5])} from its "
                "training; score it with the split it was trained with"
            )
            raise SplitError(msg)
    rules = [data.rule for data in thresholds]
    if len(set(rules)) < len(rules):
        msg = f"expected each rule to set thresholds once, got {', '.join(rules)}; score once for every source"
        raise ScoringError(msg)
    for data in thresholds:
        chosen = {data.store.subject(case) for cases in data.cases.values() for case in cases}
        check_apart(data.rule, data.name, subjects, chosen)


@dataclass(frozen=True)
class _Common:
    """What all cases share."""

    contestants: Sequence[Contestant]
    presets: Sequence[str]
    all_voxels: bool
    threads: int | None


_Job = tuple[SliceStore, str, frozenset[str], Use, str]
"""Store and case, names of the contestants that need its maps, use and source."""


def _jobs(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_ids: Sequence[str],
    thresholds: Sequence[ThresholdData],
) -> Iterator[ScoreJob]:
    """The test cases, then those that thresholds are set on, each with the maps of those that need it."""
    everybody = frozenset(contestant.name for contestant in contestants)
    for case in case_ids:
        yield ScoreJob(case, "test", (store, case, everybody, "test", ""))
    for data in thresholds:
        for case in dict.fromkeys(case for contestant in contestants for case in data.cases.get(contestant.name, ())):
            users = frozenset(
                contestant.name for contestant in contestants if case in data.cases.get(contestant.name, ())
            )
            yield ScoreJob(case, data.rule, (data.store, case, users, data.rule, data.name))


def _make_case(common: _Common, job: _Job) -> ScoredCase:
    store, name, users, use, source = job
    if common.threads is not None:
        torch.set_num_threads(common.threads)
    case = store.load(name)
    spacing = voxel_size(case.record)
    x, brain, lesion = case.image.astype(np.float32), case.brain > 0, case.lesion > 0
    maps: dict[Key, SliceArray] = {}
    errors, shown = {}, {}
    for contestant in common.contestants:
        if contestant.name not in users:
            continue
        reconstructed = contestant.reconstruct(x, brain)
        errors[contestant.name] = _sum_errors(x, reconstructed.image, brain, lesion)
        shown[contestant.name] = (None if contestant.method == UNTRAINED else reconstructed.image, reconstructed.tissue)
        for preset in common.presets:
            maps[contestant.name, preset] = make_anomaly_map(
                x, reconstructed, brain, preset, spacing, contestant.prior, case.quantiles
            )
    scored = ScoredCase(
        case=name,
        subject=store.subject(name),
        brain=brain,
        truth=lesion,
        spacing=spacing,
        lesion_ml=float(case.record.lesion_ml),
        maps=maps,
        use=use,
        source=source,
        errors=errors,
        image=x,
        slice_index=case.slice_index.tolist(),
        shown=shown,
    )
    return _with_background(scored) if common.all_voxels else scored


def _with_background(case: ScoredCase) -> ScoredCase:
    """Every voxel counts; outside the brain no map has a score above 0."""
    maps = {key: np.where(case.brain, scores, np.float32(0)) for key, scores in case.maps.items()}
    return replace(case, brain=np.ones_like(case.brain), maps=maps)


def _sum_errors(x: SliceArray, image: SliceArray, brain: SliceMask, lesion: SliceMask) -> ErrorSums:
    difference = np.abs(x - image)
    healthy, inside = brain & ~lesion, brain & lesion
    outside, within = (float(difference[part].sum()) for part in (healthy, inside))
    return ErrorSums(outside, within, int(healthy.sum()), int(inside.sum()))
