"""Entries: what is kept of one run under one preset: no voxel, only counts of every case. All rows come from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.metrics.counts import ScoreCounts, pool
from semcycle.scoring.metrics.curve import Confusion, Values, confusion, curve
from semcycle.scoring.metrics.lesions import LesionCounts
from semcycle.scoring.metrics.metrics import ErrorSums, metrics_reading
from semcycle.scoring.metrics.surface import SurfaceDistances
from semcycle.training.calibration import Threshold


class CallScores(NamedTuple):
    """What the connected components of a case's thresholded map gave."""

    counts: LesionCounts
    distances: SurfaceDistances


@dataclass(frozen=True)
class CaseScores:
    """What is kept of one case under one run and preset.

    Attributes:
        case: Name.
        subject: Cases of one subject are resampled together.
        counts: Of all voxels that count. All cases of an entry share one code.
        lesion_slices: Of the slices that show lesion only; ``None`` leaves that policy out.
        lesion_ml: Lesion volume, for the size thirds; 0 for a healthy case.
        calls: Threshold rule -> what was called there; empty where nobody looked.
        errors: Of the reconstruction; ``None`` for methods and maps without.
    """

    case: str
    subject: str
    counts: ScoreCounts
    lesion_slices: ScoreCounts | None = None
    lesion_ml: float = 0.0
    calls: Mapping[str, CallScores] | None = None
    errors: ErrorSums | None = None


@dataclass(frozen=True)
class Entry:
    """One run under one preset: the unit that gets rows in the table.

    Attributes:
        run: Name in the table.
        method: Name of the method, or of the tool that made the maps.
        preset: Name of the post-processing.
        cases: The same cases in the same order in every entry.
        thresholds: At which the maps are cut, see :mod:`semcycle.scoring.thresholds`.
        froc: ``(K, 2)`` false positives a scan and lesion-wise sensitivity, from strict to lax thresholds, or ``None``.
    """

    run: str
    method: str
    preset: str
    cases: Sequence[CaseScores]
    thresholds: Sequence[Threshold] = ()
    froc: NDArray[np.float64] | None = None

    @cached_property
    def counts(self) -> ScoreCounts:
        """Of all cases together."""
        return pool([case.counts for case in self.cases])

    @cached_property
    def lesion_slices(self) -> list[ScoreCounts]:
        """Of every case in its lesion-bearing slices; empty where some case was not looked at that way."""
        counts = [case.lesion_slices for case in self.cases if case.lesion_slices is not None]
        return counts if len(counts) == len(self.cases) else []

    @cached_property
    def by_case(self) -> dict[str, Values]:
        """Every metric over all thresholds, of every case: name -> ``(C,)``."""
        curves = [curve(case.counts) for case in self.cases]
        metrics = metrics_reading("curve")
        return {name: np.array([float(metric.function(c)) for c in curves]) for name, metric in metrics.items()}

    @cached_property
    def cuts(self) -> list[Confusion]:
        """Confusion counts ``(C,)`` of the cases at every threshold."""
        return [cut([case.counts for case in self.cases], threshold.value) for threshold in self.thresholds]

    @cached_property
    def errors(self) -> ErrorSums | None:
        """Of every case ``(C,)``; ``None`` where some case has none."""
        return _transposed([case.errors for case in self.cases])

    def calls(self, rule: str) -> tuple[LesionCounts, SurfaceDistances] | None:
        """What was called in every case ``(C,)`` at a threshold; ``None`` where some case was not looked at."""
        calls = [(case.calls or {}).get(rule) for case in self.cases]
        counts, distances = (_transposed([case and case[part] for case in calls]) for part in (0, 1))
        return None if counts is None else (counts, distances)


def cut(counts: Sequence[ScoreCounts], threshold: float) -> Confusion:
    """Confusion counts ``(C,)`` of cases at a threshold."""
    return Confusion(*np.array([confusion(case, threshold) for case in counts], float).T)


def _transposed(rows: Sequence[Any]) -> Any:
    """A named tuple of arrays instead of a list of named tuples; ``None`` where one is missing."""
    if not rows or any(row is None for row in rows):
        return None
    return type(rows[0])(*np.array(rows, float).T)
