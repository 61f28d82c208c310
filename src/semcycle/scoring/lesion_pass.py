"""The second look at the maps: lesions and false alarms at thresholds that the first look has found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.scoring.code_file import CodeFile
from semcycle.scoring.metrics.lesions import ComponentRule, component_metrics, find_lesions, froc_counts, froc_curve
from semcycle.scoring.metrics.metrics import threshold_at_fpr
from semcycle.scoring.score_table import Entry, pooled
from semcycle.store.slice_store import SliceStore, voxel_size
from semcycle.types import Spacing

RULES = ("oracle", "validation", "healthy_1", "model_1", "given")
"""Thresholds that are looked at: measuring surfaces takes a hundred times longer than counting voxels."""
FROC_RATES = tuple(np.geomspace(1e-4, 0.2, 14).tolist())
"""False-positive rates of the voxels, on all cases together, that the thresholds of the FROC curve let through."""


class LesionCase(NamedTuple):
    """A case to be looked at again.

    Attributes:
        truth: ``(S, H, W)``.
        spacing: Voxel size in mm along these axes.
        called: For every entry, in their order: threshold -> ``(S, H, W)``, true where its map reaches it.
    """

    truth: NDArray[np.bool_]
    spacing: Spacing
    called: Sequence[Callable[[float], NDArray[np.bool_]]]


def look_at_lesions(
    entries: Sequence[Entry], cases: Iterable[LesionCase], rule: ComponentRule | None = None
) -> list[Entry]:
    """Add to every record what the components of its thresholded map say, and to every entry its FROC curve.

    Args:
        entries: With thresholds, of the same cases.
        cases: In the order of the entries' records.
        rule: What counts as a lesion, a call and a hit; the default of :class:`ComponentRule` without.
    """
    cuts = [[threshold_at_fpr(pooled(entry.records), rate) for rate in FROC_RATES] for entry in entries]
    components: list[list[dict[str, dict[str, float]]]] = [[] for _ in entries]
    froc: list[list[NDArray[np.int64]]] = [[] for _ in entries]
    for case in cases:
        lesions = find_lesions(case.truth, case.spacing, rule)
        for number, (entry, called) in enumerate(zip(entries, case.called, strict=True)):
            components[number].append(
                {
                    one.rule: component_metrics(called(one.value), case.truth, case.spacing, rule)
                    for one in entry.thresholds
                    if one.rule in RULES and not np.isnan(one.value)
                }
            )
            froc[number].append(froc_counts(map(called, cuts[number]), lesions))
    return [
        replace(
            entry,
            records=[replace(record, components=some) for record, some in zip(entry.records, parts, strict=True)],
            froc=froc_curve(curves),
        )
        for entry, parts, curves in zip(entries, components, froc, strict=True)
    ]


def store_cases(entries: Sequence[Entry], store: SliceStore, codes: CodeFile) -> Iterator[LesionCase]:
    """The cases of a store; lesions are components of the truth on the working grid, in the slices of the store.

    Args:
        entries: Of these cases.
        store: Of these cases.
        codes: Keys ``(run, preset, case)``, kept within brain and lesion.
    """
    for record in entries[0].records:
        case = store.load(record.case)
        truth = case.lesion > 0
        region = (case.brain > 0) | truth
        called = [partial(codes.called, (entry.run, entry.preset, record.case), region) for entry in entries]
        yield LesionCase(truth, voxel_size(case.record), called)
