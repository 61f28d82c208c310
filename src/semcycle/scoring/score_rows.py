"""Rows of the score table: every metric under every policy, with its interval, threshold and number of cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.metrics.bootstrap import Draws, SubjectBootstrap
from semcycle.scoring.metrics.counts import ScoreCounts, pool
from semcycle.scoring.metrics.curve import Confusion, confusion, curve
from semcycle.scoring.metrics.metrics import MEASURES, METRICS, best_dice, greedy_dice, prevalence, threshold_at_fpr
from semcycle.scoring.metrics.policies import lesion_thirds
from semcycle.training.calibration import Threshold

Values = NDArray[np.float64]
EACH_CASE = "oracle: each case's own"


class ReconstructionError(NamedTuple):
    """Sums of |x - reconstruction| in a case's brain, and over how many voxels."""

    healthy: float
    lesion: float
    healthy_voxels: int
    lesion_voxels: int


@dataclass(frozen=True)
class CaseRecord:
    """What is kept of one case under one method and preset: no voxel, only counts.

    Attributes:
        case: Name.
        subject: Cases of one subject are resampled together.
        counts: Of all voxels that count. All records of an entry share one code.
        lesion_slices: Of the slices that show lesion only; ``None`` leaves that policy out.
        lesion_ml: Lesion volume, for the size thirds; 0 for a healthy case.
        components: Threshold rule -> what the connected components of the thresholded map gave in this case, by the
            names in ``COMPONENTS``; ``None`` where nobody looked.
        error: Sums of the reconstruction error, ``None`` for methods and maps without reconstruction.
    """

    case: str
    subject: str
    counts: ScoreCounts
    lesion_slices: ScoreCounts | None = None
    lesion_ml: float = 0.0
    components: Mapping[str, Mapping[str, float]] | None = None
    error: ReconstructionError | None = None


class Row(NamedTuple):
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


COMPONENTS = {
    "lesion_sensitivity": ("lesions_found", "lesions"),
    "lesion_precision": ("components_true", "components"),
    "false_positives_per_scan": ("components_false", "scans"),
}
"""Component metric -> numerator and denominator, summed over cases: keys of ``CaseRecord.components``."""

DISTANCES = ("lesion_f1", "hd95_mm", "assd_mm")
"""Component metrics that only cases have: averaged over those where they are finite."""


@dataclass(frozen=True)
class _Cases:
    """Cases of an entry, prepared for all metrics."""

    records: Sequence[CaseRecord]
    bootstrap: SubjectBootstrap
    whole: ScoreCounts
    thirds: Mapping[str, NDArray[np.bool_]]
    prevalence: float

    @property
    def count(self) -> int:
        return len(self.records)


def entry_rows(
    records: Sequence[CaseRecord], thresholds: Sequence[Threshold], bootstrap: SubjectBootstrap
) -> list[Row]:
    """All rows of one run and preset.

    Args:
        records: One a case.
        thresholds: At which the measures are taken.
        bootstrap: Of the records' subjects.
    """
    whole = pool([record.counts for record in records])
    bearing = np.array([bool(record.counts.positives.any()) for record in records])
    thirds = lesion_thirds([record.lesion_ml for record in records], bearing)
    cases = _Cases(records, bootstrap, whole, thirds, prevalence(whole))
    return [
        *_ranking_rows(cases),
        *(row for threshold in thresholds for row in _threshold_rows(cases, threshold)),
        *(row for threshold in thresholds for row in _component_rows(cases, threshold)),
        *_error_rows(cases),
    ]


def case_values(counts: ScoreCounts) -> dict[str, float]:
    """Every metric over all thresholds, of one case."""
    c = curve(counts)
    return {name: float(metric.over(c)) for name, metric in METRICS.items()}


def _ranking_rows(cases: _Cases) -> Iterator[Row]:
    """Metrics over all thresholds."""
    per_case = [case_values(record.counts) for record in cases.records]
    yield from _pooled_rows(cases, "pooled", [record.counts for record in cases.records], cases.whole)
    for name, metric in METRICS.items():
        values = np.array([found[name] for found in per_case])
        yield from _case_rows(cases, name, values, source=EACH_CASE if metric.oracle else "")
    lesion_slices = _lesion_slices(cases.records)
    if lesion_slices:
        yield from _pooled_rows(cases, "lesion_slices", lesion_slices, pool(lesion_slices))


def _pooled_rows(cases: _Cases, pooling: str, counts: Sequence[ScoreCounts], whole: ScoreCounts) -> Iterator[Row]:
    exact = case_values(whole)
    where = "in the lesion-bearing slices of" if pooling == "lesion_slices" else "on"
    share = prevalence(whole)
    for name, draws in cases.bootstrap.pooled(counts, exact).items():
        what = f"{name.rsplit('_', 1)[1]} % FPR" if name.startswith("sensitivity_at_fpr_") else "best"
        source = f"oracle: {what} {where} these {cases.count} test cases" if METRICS[name].oracle else ""
        yield Row(name, pooling, draws, cases.count, share, _own_threshold(name, whole), source)


def _own_threshold(name: str, counts: ScoreCounts) -> float:
    """The threshold a metric chose for itself."""
    if name in ("best_dice", "best_iou"):
        return best_dice(counts).threshold
    if name == "greedy_dice":
        return greedy_dice(counts).threshold
    if name.startswith("sensitivity_at_fpr_"):
        return threshold_at_fpr(counts, float(name.rsplit("_", 1)[1]) / 100)
    return float("nan")


def _threshold_rows(cases: _Cases, threshold: Threshold) -> Iterator[Row]:
    """Measures at one threshold."""
    parts = {"pooled": [record.counts for record in cases.records], "lesion_slices": _lesion_slices(cases.records)}
    end = (threshold.value, threshold.source)
    for pooling, counts in parts.items():
        if not counts:
            continue
        table = Confusion(
            *(np.array(part, float) for part in zip(*(confusion(c, threshold.value) for c in counts), strict=True))
        )
        share = prevalence(pool(counts)) if pooling == "lesion_slices" else cases.prevalence
        for name, measure in MEASURES.items():
            metric = f"{name}_at_{threshold.rule}"
            yield Row(metric, pooling, cases.bootstrap.confused(measure, table), cases.count, share, *end)
            if pooling == "pooled":
                yield from _case_rows(cases, metric, measure.of(table), *end)


def _case_rows(cases: _Cases, name: str, values: Values, threshold: float = np.nan, source: str = "") -> Iterator[Row]:
    """Mean, median and means of the thirds of ``(C,)`` values, those that are NaN left out."""
    bootstrap, known = cases.bootstrap, np.isfinite(values)
    end = (cases.prevalence, threshold, source)
    yield Row(name, "per_case_mean", bootstrap.mean(values), int(known.sum()), *end)
    yield Row(name, "per_case_median", bootstrap.median(values), int(known.sum()), *end)
    for third, inside in cases.thirds.items():
        some = np.where(inside, values, np.nan)
        yield Row(name, f"per_case_mean_{third}", bootstrap.mean(some), int((known & inside).sum()), *end)


def _component_rows(cases: _Cases, threshold: Threshold) -> Iterator[Row]:
    """Lesion-wise rates and surface distances at one threshold, where they were computed."""
    found = [(record.components or {}).get(threshold.rule) for record in cases.records]
    if not all(found):
        return
    table = {
        key: np.array([float((one or {}).get(key, 1 if key == "scans" else np.nan)) for one in found])
        for key in {key for pair in COMPONENTS.values() for key in pair} | set(DISTANCES)
    }
    end = (cases.prevalence, threshold.value, threshold.source)
    for name, (above, below) in COMPONENTS.items():
        if np.isfinite(table[above]).all():
            draws = cases.bootstrap.ratio(table[above], table[below])
            yield Row(f"{name}_at_{threshold.rule}", "pooled", draws, cases.count, *end)
    for name in DISTANCES:
        if np.isfinite(table[name]).any():
            yield from _case_rows(cases, f"{name}_at_{threshold.rule}", table[name], threshold.value, threshold.source)


def _error_rows(cases: _Cases) -> Iterator[Row]:
    """Reconstruction error in healthy brain, and how many times larger it is in lesions."""
    errors = [record.error for record in cases.records if record.error is not None]
    if len(errors) < cases.count:
        return
    healthy, lesion, healthy_voxels, lesion_voxels = np.array(errors, float).T
    bootstrap = cases.bootstrap
    yield Row("l1_healthy", "pooled", bootstrap.ratio(healthy, healthy_voxels), cases.count, cases.prevalence)
    means = [bootstrap.weights @ part for part in (healthy, healthy_voxels, lesion, lesion_voxels)]
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = (means[2] / means[3]) / (means[0] / means[1])
    draws = bootstrap.known(bootstrap.draws(np.where(np.isfinite(ratio), ratio, np.nan)), lesion_voxels > 0)
    yield Row("residual_ratio", "pooled", draws, int((lesion_voxels > 0).sum()), cases.prevalence)


def _lesion_slices(records: Sequence[CaseRecord]) -> list[ScoreCounts]:
    """Counts in lesion-bearing slices, empty where some case was not looked at that way."""
    found = [record.lesion_slices for record in records if record.lesion_slices is not None]
    return found if len(found) == len(records) else []
