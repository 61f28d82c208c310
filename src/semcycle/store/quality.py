"""Quality: what a slice store holds, case by case, so that bad scans, masks and maps are found before training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import StoreError
from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore
from semcycle.tissue.plausibility import MAX_UNEXPLAINED, PLAUSIBLE
from semcycle.types import TISSUES, SliceMask
from semcycle.volume import ras_spacing

BRAIN_ML = (900, 2200)
"""Plausible brain volume; what lies outside is a child, a cut scan, or a mask that failed."""

MAX_Z = 4.0
"""Robust z-score beyond which a figure is an outlier of its store."""

MIN_CASES = 5
"""Cases from which on a store has outliers; fewer have no distribution."""

SHARES = (*TISSUES, "unexplained")
_LEVELS = tuple(f"t2_{name}" for name in TISSUES)
PERCENTILES = {"intensity_median": 50.0, "intensity_p5": 5.0, "intensity_p95": 95.0, "intensity_p99.8": 99.8}

GROUPS: dict[str, dict[str, tuple[str, int]]] = {
    "Volume": {
        "slices": ("slices", 0),
        "lesion_free_slices": ("lesion-free slices", 0),
        "brain_ml": ("brain, ml", 0),
        "lesion_ml": ("lesion, ml", 1),
        **{f"{name}_ml": (f"{name.upper()} in the slices, ml", 0) for name in TISSUES},
    },
    "Tissue outside lesions": {
        **{name: (f"{name.upper()}, share of the brain", 2) for name in TISSUES},
        "unexplained": ("unexplained, share", 2),
        **{f"t2_{name}": (f"T2 of {name.upper()} / brain", 2) for name in TISSUES},
    },
    "Intensity in the brain": {
        "intensity_p5": ("5th percentile", 3),
        "intensity_median": ("median", 3),
        "intensity_p95": ("95th percentile", 3),
        "intensity_p99.8": ("99.8th percentile", 3),
        "clipped": ("clipped at 1, share", 4),
    },
    "Brain mask": {"components": ("components", 0), "symmetry": ("left-right symmetry", 3)},
}
"""Heading -> column of the table -> label and digits, as shown on the page."""

_OUTLIERS = {
    "brain_ml": 0.02,
    **dict.fromkeys(SHARES, 0.01),
    **dict.fromkeys(PERCENTILES, 0.01),
    "clipped": 0.0025,
}
"""Column -> least spread a z-score is taken of (brain_ml: relative to the median). Normalisation makes some
figures nearly equal in all cases, and a deviation in the fourth digit is no outlier."""

_NAMES = {
    "brain_ml": "brain volume (ml)",
    **{name: f"{name.upper()} share" for name in TISSUES},
    "unexplained": "unexplained share",
    "intensity_median": "median intensity",
    "intensity_p5": "5th percentile of intensity",
    "intensity_p95": "95th percentile of intensity",
    "intensity_p99.8": "99.8th percentile of intensity",
    "clipped": "clipped share",
}
"""Column of ``_OUTLIERS`` -> its name in a flag."""

LABELS = {column: text for group in GROUPS.values() for column, text in group.items()}
"""Column -> label and digits."""


def quality_table(store: SliceStore) -> pd.DataFrame:
    """Measure every case of a store.

    Args:
        store: A finished store.

    Returns:
        One row a case, in the store's order, with the columns

        - ``case``, ``subject``, ``group``, ``slices``, ``lesion_free_slices``;
        - ``brain_ml``, ``lesion_ml``: of the whole scan; ``gm_ml``, ``wm_ml``, ``csf_ml``: tissue probability
          summed over the store's slices;
        - ``gm``, ``wm``, ``csf``, ``unexplained``: shares of the brain outside lesions; ``t2_gm``, ``t2_wm``,
          ``t2_csf``: median intensity of the tissue over the brain's;
        - ``intensity_median``, ``intensity_p5``, ``intensity_p95``, ``intensity_p99.8``: in the brain, in [0, 1];
          ``clipped``: share of the brain's pixels at 1;
        - ``components`` of the brain mask (26 neighbours); ``symmetry``: Dice of the mask and its mirror image
          about the sagittal plane through its centre;
        - ``flags``: what looks wrong, in words, joined by ``"; "``: the record's flags and outliers of the store.

        Tissue columns are NaN without tissue maps.

    Raises:
        StoreError: A case file is missing, changed, or without brain.
    """
    # one at a time: a mapped array keeps its file open, and a store may have more cases than a process may open files
    table = pd.DataFrame([_measure(store.load(case_id)) for case_id in store.case_ids])
    table["flags"] = ["; ".join(flags) for flags in all_flags(store, table)]
    return table


def _measure(case: CaseSlices) -> dict[str, Any]:
    """A case's row of the table, without outliers."""
    record = case.record
    brain = case.brain.astype(bool)
    if not brain.any():
        msg = (
            f"{record.case_id}: expected brain in its slices, got none; check the brain mask and prepare the store "
            "again"
        )
        raise StoreError(msg)
    values = case.image[brain].astype(np.float32)
    sums = case.tissue.sum(axis=(0, 2, 3), dtype=np.int64) / 255 if case.tissue is not None else np.full(3, np.nan)
    figures = np.percentile(values, list(PERCENTILES.values()))
    return {
        "case": record.case_id,
        "subject": record.subject,
        "group": record.group,
        "slices": record.slices,
        "lesion_free_slices": record.lesion_free_slices,
        "brain_ml": record.brain_ml,
        "lesion_ml": record.lesion_ml,
        **{f"{name}_ml": float(total) for name, total in zip(TISSUES, sums * _pixel_ml(record), strict=True)},
        **{name: record.tissue.get(name, np.nan) for name in (*SHARES, *_LEVELS)},
        **{name: float(figure) for name, figure in zip(PERCENTILES, figures, strict=True)},
        "clipped": float((values >= 1).mean()),
        "components": int(ndimage.label(brain, np.ones((3, 3, 3), bool))[1]),
        "symmetry": _symmetry(brain),
    }


def _pixel_ml(record: CaseRecord) -> float:
    """Volume a pixel stands for: its area times the distance of slices; NaN where no grid was recorded."""
    grid = record.preprocess.get("grid")
    if not grid:
        return float("nan")
    return float(grid["pixel_mm"] ** 2 * ras_spacing(np.array(grid["affine"]))[2] / 1000)


def _symmetry(brain: SliceMask) -> float:
    """Dice of a ``(S, H, W)`` mask and its mirror image about the column its centre lies in, to half a pixel."""
    counts = brain.sum(axis=(0, 1))
    columns = np.arange(brain.shape[2])
    mirrored = round(2 * float(counts @ columns) / float(counts.sum())) - columns
    inside = (mirrored >= 0) & (mirrored < columns.size)
    return float((brain[..., inside] & brain[..., mirrored[inside]]).sum() / counts.sum())


def all_flags(store: SliceStore, table: pd.DataFrame) -> list[list[str]]:
    """For every row the record's flags and, after them, the outliers of the store."""
    outliers = _find_outliers(table)
    return [
        [*store.summary(str(case))["flags"], *words.values()]
        for case, words in zip(table["case"], outliers, strict=True)
    ]


def _find_outliers(table: pd.DataFrame) -> list[dict[str, str]]:
    """For every row the columns that lie outside what is plausible or usual in this store, in words."""
    cells: list[dict[str, str]] = [{} for _ in range(len(table))]
    for column, floor in _OUTLIERS.items():
        values = table[column].to_numpy(float)
        digits = LABELS[column][1]
        middle, z = _robust_z(values, floor, relative=column == "brain_ml")
        for row in np.flatnonzero(np.abs(z) > MAX_Z):
            cells[row][column] = (
                f"{_NAMES[column]} {values[row]:.{digits}f}, in this store {middle:.{digits}f} (z {z[row]:+.1f})"
            )
    low, high = BRAIN_ML
    volumes = table["brain_ml"].to_numpy(float)
    for row in np.flatnonzero((volumes < low) | (volumes > high)):
        cells[row]["brain_ml"] = f"brain of {volumes[row]:.0f} ml (plausible: {low}-{high})"
    return cells


def _robust_z(values: NDArray[np.float64], floor: float, *, relative: bool) -> tuple[float, NDArray[np.float64]]:
    """Median, and distance from it over the median absolute deviation scaled to a normal's standard deviation.

    NaN stays NaN, which is beyond nothing; so do all values of fewer than ``MIN_CASES`` cases.
    """
    known = values[np.isfinite(values)]
    if known.size < MIN_CASES:
        return float("nan"), np.full(values.shape, np.nan)
    middle = float(np.median(known))
    least = floor * abs(middle) if relative else floor
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), least, 1e-9)
    return middle, (values - middle) / spread


def mark_odd(table: pd.DataFrame) -> list[set[str]]:
    """For every row the columns to be marked: outliers, and what the record's flags are about."""
    marks = [set(words) for words in _find_outliers(table)]
    ranges: dict[str, tuple[float, float]] = {**PLAUSIBLE, "unexplained": (-np.inf, MAX_UNEXPLAINED)}
    for column, (low, high) in ranges.items():
        values = table[column].to_numpy(float)
        for row in np.flatnonzero((values < low) | (values > high)):
            marks[row].add(column)
    for row in np.flatnonzero(table["t2_wm"].to_numpy(float) >= table["t2_gm"].to_numpy(float)):
        marks[row].update(("t2_gm", "t2_wm"))
    return marks
