"""Lesions one by one: which were found, what was called without being one, and how the threshold changes it (FROC).

A lesion is a connected component of the truth, a call one of the thresholded map; voxels that share a face, an edge or
a corner are connected (26 neighbours). Two overlap rules, as published numbers use both:

=======  ==============================================================================================================
``any``  a lesion is found when a call has a voxel in it; a call is true when it has a voxel in a lesion. One call may
         find several lesions, so a map that calls everything finds all of them with one call: read it with Dice.
``iou``  a lesion is found by one call, and a call finds one lesion: as many pairs as can be made with an intersection
         over union of at least ``min_iou``. What is left of either is a miss or a false positive.
=======  ==============================================================================================================

Calls below ``min_call_mm3`` are removed first. Components of the truth below ``min_lesion_mm3`` are nobody's business:
not missed, and a call that touches nothing else is neither true nor false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from semcycle.config import Config
from semcycle.errors import ScoringError
from semcycle.types import Spacing
from semcycle.volume.masks import label_components

SMALLEST_MM3 = 14.0
"""A ball of 3 mm diameter: the smallest focus that MRI criteria of multiple sclerosis count [filippi2019]."""


class ComponentRule(Config):
    """What counts as a lesion, a call and a hit."""

    overlap: Literal["any", "iou"] = "any"
    """See the module's table."""
    min_iou: float = Field(0.1, gt=0, le=1)
    """Of the rule ``iou``."""
    min_lesion_mm3: float = Field(SMALLEST_MM3, ge=0)
    """Components of the truth below this volume are ignored."""
    min_call_mm3: float = Field(SMALLEST_MM3, ge=0)
    """Components of the thresholded map below this volume are removed."""


class LesionCounts(NamedTuple):
    """Lesions and calls of one case, or of several: numbers add, and may be arrays.

    Attributes:
        lesions: In the truth.
        lesions_found: Of these.
        components: Calls that are true or false.
        components_true: Of these.
        scans: How many were counted.
    """

    lesions: Any
    lesions_found: Any
    components: Any
    components_true: Any
    scans: Any = 1

    @property
    def components_false(self) -> Any:
        """False positives."""
        return self.components - self.components_true


@dataclass(frozen=True, eq=False)
class Lesions:
    """The truth of a case, labelled once for any number of thresholds.

    Attributes:
        labels: ``(I, J, K)`` int32: 1 to ``count`` lesions, -1 components below the size limit, 0 elsewhere.
        sizes: ``(count,)`` voxels of each.
        spacing: Voxel size in mm.
        rule: They were found by.
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    spacing: Spacing
    rule: ComponentRule

    @property
    def count(self) -> int:
        """Number of lesions."""
        return len(self.sizes)

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Flat indices of the voxels of lesions, small ones too."""
        return np.flatnonzero(self.labels)


@dataclass(frozen=True, eq=False)
class Calls:
    """A thresholded map, labelled once.

    Attributes:
        labels: ``(I, J, K)`` int32 from 1, 0 elsewhere.
        sizes: Voxels of each component.
        kept: ``(N,)`` bool, those that are large enough.
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    kept: NDArray[np.bool_]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """``(I, J, K)`` what is called, without small calls."""
        return np.concatenate([[False], self.kept])[self.labels]


def find_lesions(truth: NDArray[np.bool_], spacing: Spacing, rule: ComponentRule | None = None) -> Lesions:
    """Label the lesions of a case.

    Args:
        truth: ``(I, J, K)`` bool.
        spacing: Voxel size in mm along these axes.
        rule: The default of :class:`ComponentRule` without.

    Raises:
        ScoringError: Not 3-D, or a voxel has no size.
    """
    rule = rule or ComponentRule()
    labels, sizes = label_components(truth, spacing)
    kept = sizes * float(np.prod(spacing)) >= rule.min_lesion_mm3
    renamed = np.concatenate([[0], np.where(kept, np.cumsum(kept), -1)]).astype(np.int32)
    return Lesions(renamed[labels], sizes[kept], spacing, rule)


def find_calls(called: NDArray[np.bool_], lesions: Lesions) -> Calls:
    """Label the components of a thresholded map.

    Args:
        called: Of the shape of ``lesions.labels``.
        lesions: From :func:`find_lesions`, whose rule and voxel size hold.

    Raises:
        ScoringError: Shapes differ.
    """
    if called.shape != lesions.labels.shape:
        msg = f"expected calls on the grid of the lesions {lesions.labels.shape}, got {called.shape}"
        raise ScoringError(msg)
    labels, sizes = label_components(called, lesions.spacing)
    return Calls(labels, sizes, sizes * float(np.prod(lesions.spacing)) >= lesions.rule.min_call_mm3)


def match_calls(calls: Calls, lesions: Lesions) -> LesionCounts:
    """Compare the components of a thresholded map with the lesions."""
    mine = calls.labels.ravel()[lesions.places]
    hit = mine > 0
    width = lesions.count + 2  # of a row of pairs: ignored truth, no truth, lesions
    theirs = lesions.labels.ravel()[lesions.places[hit]]
    pairs, voxels = np.unique((mine[hit].astype(np.int64) - 1) * width + theirs + 1, return_counts=True)
    call, lesion = np.divmod(pairs, width)
    wanted = calls.kept[call]
    call, lesion, voxels = call[wanted], lesion[wanted] - 2, voxels[wanted]
    hits = lesion >= 0
    ignored = np.setdiff1d(call, call[hits]).size
    call, lesion, voxels = call[hits], lesion[hits], voxels[hits]
    if lesions.rule.overlap == "any":
        found, true = np.unique(lesion).size, np.unique(call).size
    else:
        union = calls.sizes[call] + lesions.sizes[lesion] - voxels
        good = voxels / union >= lesions.rule.min_iou
        found = true = _count_pairs(call[good], lesion[good], (len(calls.sizes), lesions.count))
    return LesionCounts(lesions.count, found, int(calls.kept.sum()) - ignored, true)


def froc_counts(calls: Iterable[NDArray[np.bool_]], lesions: Lesions) -> NDArray[np.int64]:
    """Lesions and calls of one case at many thresholds.

    Args:
        calls: The thresholded maps ``(I, J, K)``, one a threshold; the same thresholds for all cases.
        lesions: Of the case.

    Returns:
        ``(K, 3)``: lesions, lesions found, false positives. Adds over cases.
    """
    counts = [match_calls(find_calls(called, lesions), lesions) for called in calls]
    rows = [(each.lesions, each.lesions_found, each.components_false) for each in counts]
    return np.array(rows, np.int64).reshape(-1, 3)


def froc_curve(cases: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Free-response ROC of all cases together.

    Args:
        cases: From :func:`froc_counts`, one a scan, with and without lesions.

    Returns:
        ``(K, 2)`` false positives a scan and lesion-wise sensitivity, in the order of the thresholds; sensitivity is
        NaN without any lesion. Calls merge as the threshold falls, so false positives need not rise all the way.

    Raises:
        ScoringError: No case, or other numbers of thresholds.
    """
    if not cases or len({len(case) for case in cases}) > 1:
        got = sorted({len(case) for case in cases})
        msg = f"expected cases at the same thresholds, got {got or 'none'}; cut all maps at the same ones"
        raise ScoringError(msg)
    total = np.sum([np.asarray(case, float) for case in cases], axis=0)
    with np.errstate(invalid="ignore"):
        return np.stack([total[:, 2] / len(cases), total[:, 1] / total[:, 0]], axis=1)


def _count_pairs(call: NDArray[Any], lesion: NDArray[Any], shape: tuple[int, int]) -> int:
    """As many one-to-one pairs as can be made."""
    if not len(call):
        return 0
    graph = sparse.csr_array((np.ones(len(call), np.int8), (call, lesion)), shape=shape)
    return int((sparse.csgraph.maximum_bipartite_matching(graph) >= 0).sum())
