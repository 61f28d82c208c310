"""Rows of the score table: every metric under every policy, with its interval, threshold and number of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.entries import Entry, cut
from semcycle.scoring.metrics.bootstrap import Draws, SubjectBootstrap
from semcycle.scoring.metrics.counts import ScoreCounts, pool
from semcycle.scoring.metrics.curve import Values, curve
from semcycle.scoring.metrics.metrics import CALL_COLUMNS, metrics_reading, name_at, prevalence
from semcycle.scoring.metrics.policies import LESION_SLICES, PER_CASE, POOLED, lesion_thirds
from semcycle.training.calibration import Threshold

EACH_CASE = "oracle: each case's own"


class ScoreRow(NamedTuple):
    """A row of the table before it is written.

    Attributes:
        metric: Name.
        pooling: Key of ``POLICIES``.
        draws: The value and its resamples.
        cases: How many it is computed from.
        prevalence: Share of lesion in the voxels it is computed from.
        threshold: The score it belongs to, NaN for none or many.
        source: Of the threshold.
    """

    metric: str
    pooling: str
    draws: Draws
    cases: int
    prevalence: float
    threshold: float = np.nan
    source: str = ""


@dataclass(frozen=True)
class _Sample:
    """An entry and what its rows share."""

    entry: Entry
    bootstrap: SubjectBootstrap
    thirds: Mapping[str, NDArray[np.bool_]]
    prevalence: float

    @property
    def size(self) -> int:
        return len(self.entry.cases)


def entry_rows(entry: Entry, bootstrap: SubjectBootstrap) -> Iterator[ScoreRow]:
    """All rows of one run and preset.

    Args:
        entry: With its thresholds.
        bootstrap: Of the subjects of its cases.
    """
    bearing = np.array([bool(case.counts.positives.any()) for case in entry.cases])
    thirds = lesion_thirds([case.lesion_ml for case in entry.cases], bearing)
    sample = _Sample(entry, bootstrap, thirds, prevalence(entry.counts))
    yield from _curve_rows(sample)
    for threshold, confusion in zip(entry.thresholds, entry.cuts, strict=True):
        yield from _confusion_rows(sample, threshold, confusion)
    for threshold in entry.thresholds:
        yield from _call_rows(sample, threshold)
    if entry.errors is not None:
        for name, metric in metrics_reading("errors").items():
            known = int(np.isfinite(metric.function(entry.errors)).sum())
            yield ScoreRow(name, POOLED, bootstrap.summed(metric, entry.errors), known, sample.prevalence)


def case_columns(entry: Entry) -> dict[str, Any]:
    """Columns of the per-case table, one value a case."""
    columns: dict[str, Any] = {"case": [case.case for case in entry.cases], **entry.by_case}
    for threshold, confusion in zip(entry.thresholds, entry.cuts, strict=True):
        columns |= _of_cases("confusion", confusion, threshold.rule)
        if calls := entry.calls(threshold.rule):
            columns |= {name_at(name, threshold.rule): getattr(calls[0], name) for name in CALL_COLUMNS}
            columns |= _of_cases("lesions", calls[0], threshold.rule) | _of_cases("surfaces", calls[1], threshold.rule)
    columns["prevalence"] = [prevalence(case.counts) for case in entry.cases]
    columns["lesion_voxels"] = [int(case.counts.occurring[0].sum()) for case in entry.cases]
    columns["lesion_ml"] = [case.lesion_ml for case in entry.cases]
    return columns | ({} if entry.errors is None else _of_cases("errors", entry.errors))


def _of_cases(what: str, numbers: Any, rule: str = "") -> dict[str, Values]:
    return {
        name_at(name, rule) if rule else name: metric.function(numbers)
        for name, metric in metrics_reading(what).items()
        if metric.by_case != "nowhere"
    }


def _curve_rows(sample: _Sample) -> Iterator[ScoreRow]:
    """Metrics over all thresholds."""
    entry = sample.entry
    yield from _pooled_curve_rows(sample, POOLED, [case.counts for case in entry.cases], entry.counts)
    for name, metric in metrics_reading("curve").items():
        yield from _case_rows(sample, name, entry.by_case[name], source=EACH_CASE if metric.finds else "")
    if entry.lesion_slices:
        yield from _pooled_curve_rows(sample, LESION_SLICES, entry.lesion_slices, pool(entry.lesion_slices))


def _pooled_curve_rows(
    sample: _Sample, pooling: str, counts: Sequence[ScoreCounts], whole: ScoreCounts
) -> Iterator[ScoreRow]:
    c, metrics = curve(whole), metrics_reading("curve")
    exact = {name: float(metric.function(c)) for name, metric in metrics.items()}
    draws = sample.bootstrap.pooled(counts, metrics, exact)
    where = "in the lesion-bearing slices of" if pooling == LESION_SLICES else "on"
    for name, metric in metrics.items():
        chosen, source = np.nan, ""
        if metric.finds:
            chosen, source = metric.finds(c), f"oracle: {metric.choice} {where} these {sample.size} test cases"
        yield ScoreRow(name, pooling, draws[name], sample.size, prevalence(whole), chosen, source)


def _confusion_rows(sample: _Sample, threshold: Threshold, confusion: Any) -> Iterator[ScoreRow]:
    """Metrics of the voxels at one threshold."""
    slices, end = sample.entry.lesion_slices, (threshold.value, threshold.source)
    parts = {POOLED: (confusion, sample.prevalence)}
    if slices:
        parts[LESION_SLICES] = (cut(slices, threshold.value), prevalence(pool(slices)))
    for pooling, (counts, share) in parts.items():
        for name, metric in metrics_reading("confusion").items():
            named = name_at(name, threshold.rule)
            yield ScoreRow(named, pooling, sample.bootstrap.summed(metric, counts), sample.size, share, *end)
            if pooling == POOLED:
                yield from _case_rows(sample, named, metric.function(counts), *end)


def _call_rows(sample: _Sample, threshold: Threshold) -> Iterator[ScoreRow]:
    """Lesion-wise rates and surface distances at one threshold, where they were computed."""
    calls, end = sample.entry.calls(threshold.rule), (threshold.value, threshold.source)
    for what, numbers in zip(("lesions", "surfaces"), calls or (), strict=False):
        for name, metric in metrics_reading(what).items():
            named = name_at(name, threshold.rule)
            if POOLED in metric.policies:
                draws = sample.bootstrap.summed(metric, numbers)
                yield ScoreRow(named, POOLED, draws, sample.size, sample.prevalence, *end)
            if PER_CASE[0] in metric.policies and np.isfinite(values := metric.function(numbers)).any():
                yield from _case_rows(sample, named, values, *end)


def _case_rows(
    sample: _Sample, name: str, values: Values, threshold: float = np.nan, source: str = ""
) -> Iterator[ScoreRow]:
    """Mean, median and means of the thirds of ``(C,)`` values, those that are NaN left out."""
    bootstrap, known = sample.bootstrap, np.isfinite(values)
    end = (sample.prevalence, threshold, source)
    yield ScoreRow(name, "per_case_mean", bootstrap.mean(values), int(known.sum()), *end)
    yield ScoreRow(name, "per_case_median", bootstrap.median(values), int(known.sum()), *end)
    for third, inside in sample.thirds.items():
        draws = bootstrap.mean(np.where(inside, values, np.nan))
        yield ScoreRow(name, f"per_case_mean_{third}", draws, int((known & inside).sum()), *end)
