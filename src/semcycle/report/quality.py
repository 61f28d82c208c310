"""Quality: what a slice store holds, case by case, so that bad scans, masks and maps are found before training."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.errors import Failure, StoreError
from semcycle.files import write_bytes
from semcycle.report import canvas
from semcycle.report.overview import choose_slices
from semcycle.report.page import load_template
from semcycle.report.tables import format_value, to_csv_text
from semcycle.store import CaseRecord, CaseSlices, SliceStore
from semcycle.tissue.quality import MAX_UNEXPLAINED, PLAUSIBLE
from semcycle.types import TISSUES, SliceMask
from semcycle.volume import ras_spacing

BRAIN_ML = (900, 2200)
"""Plausible brain volume; what lies outside is a child, a cut scan, or a mask that failed."""

MAX_Z = 4.0
"""Robust z-score beyond which a figure is an outlier of its store."""

MIN_CASES = 5
"""Cases from which on a store has outliers; fewer have no distribution."""

SLICES = 6
"""Slices of a case that are drawn at most."""

ALL_DRAWN, FIRST_DRAWN = 60, 20
"""A store of more cases than the first is drawn in part: the flagged cases and so many others."""

BRAIN_OUTLINE = "#ffb02e"

SHARES = (*TISSUES, "unexplained")
LEVELS = tuple(f"t2_{name}" for name in TISSUES)
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

_OVERVIEW = (
    "slices", "lesion_free_slices", "brain_ml", "lesion_ml", *SHARES, "intensity_median", "intensity_p99.8",
    "clipped", "components", "symmetry",
)  # fmt: skip
_LABELS = {column: text for group in GROUPS.values() for column, text in group.items()}


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
    table["flags"] = ["; ".join(flags) for flags in _all_flags(store, table)]
    return table


def quality_report(store: SliceStore, out: Path) -> Path:
    """Write ``quality/index.html``, one self-contained page, and ``quality/quality.csv``.

    Failed cases stand first, then the flagged ones, then the others, each with a contact sheet and its figures.
    Of a store of more than ``ALL_DRAWN`` cases the flagged ones and the first ``FIRST_DRAWN`` others are drawn.
    The same store gives the same bytes.

    Args:
        store: A finished store.
        out: Folder in which ``quality`` is made.

    Returns:
        The page.

    Raises:
        StoreError: A case file or ``failures.csv`` is damaged.
    """
    failures = _read_failures(store.folder / "failures.csv")
    table = quality_table(store)
    flagged = (table["flags"] != "").to_numpy()
    rows = {True: np.flatnonzero(flagged), False: np.flatnonzero(~flagged)}
    if len(table) > ALL_DRAWN:
        rows[False] = rows[False][:FIRST_DRAWN]
    flags, odd = _all_flags(store, table), _mark_odd(table)

    def blocks(chosen: NDArray[np.intp]) -> list[dict[str, Any]]:
        return [_case_block(store, table, int(row), flags[row], odd[row]) for row in chosen]

    content = {
        "cohort": str(store.settings.get("cohort", "")),
        "facts": _facts(store, table),
        "count": len(table),
        "flagged_count": int(flagged.sum()),
        "failures": failures,
        "sections": [
            {"key": key, "title": title, "cases": blocks(rows[kind])}
            for kind, key, title in ((True, "flagged", "Flagged cases"), (False, "others", "Other cases"))
        ],
        "left_out": len(table) - sum(len(part) for part in rows.values()),
        "first_drawn": len(rows[False]),
        "overview": _overview(table, odd, {int(row) for part in rows.values() for row in part}),
        "limits": {"brain": BRAIN_ML, "z": MAX_Z, "cases": MIN_CASES},
    }
    folder = out / "quality"
    write_bytes(folder / "quality.csv", to_csv_text(table.set_index("case")).encode())
    path = folder / "index.html"
    write_bytes(path, load_template("quality.html.jinja").render(content).lstrip().encode())
    return path


def contact_sheet(case: CaseSlices, white: float) -> Figure:
    """Draw evenly spaced slices of a case: the image with both outlines and, where there are maps, tissue colours.

    Args:
        case: Arrays of the case.
        white: Intensity shown as white.

    Raises:
        ValueError: No slice holds brain.
    """
    shown = choose_slices(case.brain.astype(bool), SLICES)
    brain, lesion = case.brain[shown].astype(bool), case.lesion[shown].astype(bool)
    image = case.image[shown].astype(np.float32)
    tissue = canvas.tissue_rgb(case.tissue[shown] / np.float32(255)) if case.tissue is not None else None
    boxes = canvas.crop_boxes(list(brain))
    with mpl.rc_context(canvas.STYLE):
        titles = [f"slice {index}" for index in case.slice_index[shown]]
        figure, grid, _ = canvas.make_stage(titles, ["image", *(["tissue"] if tissue is not None else [])], bars=False)
        for column, box in enumerate(boxes):
            axes = grid[0][column]
            canvas.draw_grey(axes, image[column], box, white)
            _draw_border(axes, canvas.crop(brain[column], box), BRAIN_OUTLINE, 0.9)
            _draw_border(axes, canvas.crop(lesion[column], box), canvas.OUTLINE, 1.3)
            if tissue is not None:
                grid[1][column].imshow(canvas.to_display(canvas.crop(tissue[column], box)))
        canvas.draw_marks(grid[0][0])
        _write_legend(figure, tissue is not None)
    return figure


def _measure(case: CaseSlices) -> dict[str, Any]:
    """A case's row of the table, without outliers."""
    record = case.record
    brain = case.brain.astype(bool)
    if not brain.any():
        msg = f"{record.case_id}: expected brain in its slices, got none; check the brain mask and prepare the store again"
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
        **{name: record.tissue.get(name, np.nan) for name in (*SHARES, *LEVELS)},
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


def _all_flags(store: SliceStore, table: pd.DataFrame) -> list[list[str]]:
    """For every row the record's flags and, after them, the outliers of the store."""
    outliers = _find_outliers(table)
    return [
        [*store.summary(str(case))["flags"], *words.values()]
        for case, words in zip(table["case"], outliers, strict=True)
    ]


def _find_outliers(table: pd.DataFrame) -> list[dict[str, str]]:
    """For every row the columns that lie outside what is plausible or usual in this store, in words."""
    found: list[dict[str, str]] = [{} for _ in range(len(table))]
    for column, floor in _OUTLIERS.items():
        values = table[column].to_numpy(float)
        digits = _LABELS[column][1]
        middle, z = _robust_z(values, floor, relative=column == "brain_ml")
        for row in np.flatnonzero(np.abs(z) > MAX_Z):
            found[row][column] = (
                f"{_NAMES[column]} {values[row]:.{digits}f}, in this store {middle:.{digits}f} (z {z[row]:+.1f})"
            )
    low, high = BRAIN_ML
    volumes = table["brain_ml"].to_numpy(float)
    for row in np.flatnonzero((volumes < low) | (volumes > high)):
        found[row]["brain_ml"] = f"brain of {volumes[row]:.0f} ml (plausible: {low}-{high})"
    return found


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


def _mark_odd(table: pd.DataFrame) -> list[set[str]]:
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


def _read_failures(path: Path) -> list[Failure]:
    if not path.is_file():
        return []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        return [Failure(case, reason) for case, reason in zip(table["case"], table["reason"], strict=True)]
    except (OSError, ValueError, KeyError) as error:
        msg = f"{path}: expected the columns case and reason, got a damaged file ({error}); prepare the store again"
        raise StoreError(msg) from error


def _facts(store: SliceStore, table: pd.DataFrame) -> list[tuple[str, str]]:
    def say(content: Any) -> str:
        pairs = content.items() if isinstance(content, dict) else [("", content)]
        return ", ".join(f"{name} {value}".strip() for name, value in pairs)

    groups = table["group"].replace("", "none").value_counts().sort_index()
    return [
        *((str(name), say(value)) for name, value in store.settings.items()),
        ("subjects", str(table["subject"].nunique())),
        ("groups", ", ".join(f"{name} {count}" for name, count in groups.items())),
        ("slices", f"{table['slices'].sum()}, {table['lesion_free_slices'].sum()} of them lesion-free"),
        ("store", store.hash[:12]),
    ]


def _case_block(
    store: SliceStore, table: pd.DataFrame, row: int, flags: Sequence[str], odd: set[str]
) -> dict[str, Any]:
    """What the template needs of a case: its words, figures beside the store's medians, and its contact sheet."""
    values = table.iloc[row]
    sheet = contact_sheet(store.load(str(values["case"])), max(float(values["intensity_p99.8"]), 1e-3))
    groups = []
    for title, columns in GROUPS.items():
        lines = [
            {
                "label": label,
                "value": format_value(float(values[column]), digits),
                "usual": format_value(float(table[column].median()), digits),
                "odd": column in odd,
            }
            for column, (label, digits) in columns.items()
            if pd.notna(values[column])
        ]
        groups += [{"title": title, "lines": lines}] if lines else []
    return {
        "anchor": f"case-{row}",
        "case": values["case"],
        "detail": ", ".join(part for part in (f"subject {values['subject']}", values["group"]) if part),
        "flags": flags,
        "picture": "data:image/jpeg;base64," + base64.b64encode(_jpeg(sheet)).decode(),
        "groups": groups,
    }


def _overview(table: pd.DataFrame, odd: Sequence[set[str]], drawn: set[int]) -> dict[str, Any]:
    """The table of all cases: headings, and rows of cells with text, sort value and mark."""
    columns = [column for column in _OVERVIEW if table[column].notna().any()]
    rows = []
    for row, values in table.iterrows():
        number = int(str(row))
        cells = [
            {
                "text": format_value(float(values[column]), _LABELS[column][1]),
                "sort": "" if pd.isna(values[column]) else repr(float(values[column])),
                "odd": column in odd[number],
            }
            for column in columns
        ]
        anchor = f"case-{number}" if number in drawn else ""
        rows.append({"case": values["case"], "anchor": anchor, "cells": cells, "flagged": bool(values["flags"])})
    return {"heads": [_LABELS[column][0] for column in columns], "rows": rows}


def _draw_border(axes: Axes, mask: NDArray[np.bool_], colour: str, width: float) -> None:
    if mask.any() and not mask.all():
        axes.contour(canvas.to_display(mask).astype(float), levels=[0.5], colors=[colour], linewidths=width)


def _write_legend(figure: Figure, tissue: bool) -> None:
    """Name the outlines and the tissue colours under the pictures."""
    outlines = {"brain mask": BRAIN_OUTLINE, "lesion": canvas.OUTLINE}
    handles: list[Any] = [Line2D([], [], color=colour, label=name) for name, colour in outlines.items()]
    if tissue:
        handles += [Patch(facecolor=colour, label=name) for name, colour in canvas.TISSUE_COLOURS.items()]
    legend = figure.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0.0, -0.01), ncols=5, frameon=False, fontsize=8.5
    )
    for text in legend.get_texts():
        text.set_color(canvas.BRIGHT)


def _jpeg(figure: Figure) -> bytes:
    """Render as JPEG, a third of a PNG's size; it holds no date and no version."""
    content = io.BytesIO()
    with mpl.rc_context(canvas.STYLE):
        figure.savefig(content, format="jpg", dpi=110, facecolor=figure.get_facecolor(), pil_kwargs={"quality": 90})
    return content.getvalue()
