"""Quality page: every case of a slice store with its contact sheet and figures, the flagged ones first."""

from __future__ import annotations

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

from semcycle.files import read_failures, write_bytes
from semcycle.report import canvas
from semcycle.report.html import write_html
from semcycle.report.overview import choose_slices
from semcycle.report.tables import format_value, to_csv_text
from semcycle.store.quality import (
    BRAIN_ML,
    GROUPS,
    LABELS,
    MAX_Z,
    MIN_CASES,
    SHARES,
    all_flags,
    mark_odd,
    quality_table,
)
from semcycle.store.slice_store import CaseSlices, SliceStore

SLICES = 6
"""Slices of a case that are drawn at most."""

ALL_DRAWN, FIRST_DRAWN = 60, 20
"""A store of more cases than the first is drawn in part: the flagged cases and so many others."""

BRAIN_OUTLINE = "#ffb02e"

_OVERVIEW = (
    "slices", "lesion_free_slices", "brain_ml", "lesion_ml", *SHARES, "intensity_median", "intensity_p99.8",
    "clipped", "components", "symmetry",
)  # fmt: skip


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
    failures = read_failures(store.folder / "failures.csv")
    table = quality_table(store)
    flagged = (table["flags"] != "").to_numpy()
    rows = {True: np.flatnonzero(flagged), False: np.flatnonzero(~flagged)}
    if len(table) > ALL_DRAWN:
        rows[False] = rows[False][:FIRST_DRAWN]
    flags, odd = all_flags(store, table), mark_odd(table)

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
    return write_html(folder / "index.html", "quality.html.jinja", content)


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
                "text": format_value(float(values[column]), LABELS[column][1]),
                "sort": "" if pd.isna(values[column]) else repr(float(values[column])),
                "odd": column in odd[number],
            }
            for column in columns
        ]
        anchor = f"case-{number}" if number in drawn else ""
        rows.append({"case": values["case"], "anchor": anchor, "cells": cells, "flagged": bool(values["flags"])})
    return {"heads": [LABELS[column][0] for column in columns], "rows": rows}


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
