"""What every picture of slices is drawn with: colours, a dark stage of cells, slices, outlines, bars, and files.

Slices come as ``(H, W)`` with H from posterior to anterior and W from left to right, and are drawn as
radiologists read them: anterior up, the patient's left on the right of the picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from semcycle.files import write_bytes

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "semcycle",
    "svg.fonttype": "path",
    "axes.unicode_minus": False,
    "path.simplify": True,
}
"""matplotlib settings of every figure; a user's own ``matplotlibrc`` does not change them."""


TISSUE_COLOURS = {"GM": "#e0752d", "WM": "#f6eedb", "CSF": "#2f7fd6"}
"""Orange, cream and blue differ in lightness too: told apart with any colour vision and in grey print."""


ANOMALY_MAP = "inferno"


OUTLINE = "#4df0c8"


STAGE = "#0b0d10"


BRIGHT, SOFT = "#eef1f4", "#a3adb8"


_CELL = 1.55  # inches a slice takes


def to_display(picture: NDArray[Any]) -> NDArray[Any]:
    """Turn ``(H, W, ...)`` from RAS+ order to rows from the top and columns from the left of the picture (a view).

    Anterior comes up, the patient's left to the right.
    """
    return picture[::-1, ::-1]


def tissue_rgb(tissue: NDArray[np.floating]) -> NDArray[np.float32]:
    """Blend ``(..., 3, H, W)`` GM, WM, CSF probabilities into ``(..., H, W, 3)`` RGB in [0, 1]; background is black."""
    colours = np.array([to_rgb(colour) for colour in TISSUE_COLOURS.values()], np.float32)
    mixed = np.einsum("...khw,kc->...hwc", np.clip(tissue, 0, 1).astype(np.float32), colours)
    return np.clip(mixed, 0, 1)


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("png",), *, dpi: int = 110) -> list[Path]:
    """Write a figure atomically; the same figure gives the same bytes.

    Args:
        figure: The figure.
        stem: Path without suffix.
        formats: Of ``png``, ``svg`` and ``pdf``.
        dpi: Dots an inch of the PNG and of pictures within SVG and PDF.

    Returns:
        The files, in the order of ``formats``.
    """
    paths = []
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        write_bytes(path, figure_bytes(figure, name, dpi=dpi))
        paths.append(path)
    return paths


def figure_bytes(figure: Figure, name: str = "png", *, dpi: int = 110) -> bytes:
    """Render a figure as ``png``, ``svg`` or ``pdf`` without dates and versions in it."""
    silent: Mapping[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=name, dpi=dpi, facecolor=figure.get_facecolor(), metadata=silent[name])
    return content.getvalue()


def crop(picture: NDArray[Any], box: tuple[int, int, int]) -> NDArray[Any]:
    """Cut a square ``(row, column, side)`` out of ``(H, W, ...)``, with zeros where it reaches over the edge."""
    row, column, side = box
    out = np.zeros((side, side, *picture.shape[2:]), picture.dtype)
    top, left = max(row, 0), max(column, 0)
    part = picture[top : row + side, left : column + side]
    out[top - row : top - row + part.shape[0], left - column : left - column + part.shape[1]] = part
    return out


def draw_outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the border of a ``(H, W)`` mask over the picture in ``axes``."""
    if mask.any() and not mask.all():
        axes.contour(to_display(mask).astype(float), levels=[0.5], colors=[OUTLINE], linewidths=1.3)


def draw_marks(axes: Axes) -> None:
    """Mark the patient's sides: R on the left of the picture, L on its right."""
    for place, side in ((0.02, "R"), (0.98, "L")):
        axes.text(
            place, 0.98, side, transform=axes.transAxes, ha="left" if side == "R" else "right", va="top", color=SOFT
        )


def draw_bar(axes: Axes, top: float, label: str) -> None:
    """Turn a narrow cell into the colour bar of an anomaly scale from 0 to ``top``."""
    inner = axes.inset_axes((0.0, 0.08, 0.1, 0.84))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(0, top), ANOMALY_MAP), cax=inner)
    bar.set_ticks([0, top / 2, top], labels=["0", f"{top / 2:.2f}", f"≥{top:.2f}"])
    bar.ax.tick_params(colors=SOFT, labelsize=8, length=2, pad=2)
    bar.set_label(label, color=SOFT, fontsize=8)
    bar.outline.set_visible(False)


def make_figure(width: float, height: float, paper: str) -> Figure:
    """An empty figure of ``width`` x ``height`` inches on paper of that colour, outside pyplot's state."""
    figure = Figure(figsize=(width, height), facecolor=paper)
    FigureCanvasAgg(figure)
    return figure


def make_stage(
    titles: Sequence[str], names: Sequence[str], *, bars: bool = True, groups: bool = False, legend: bool = True
) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """Make a dark figure with a cell a picture.

    Args:
        titles: One a column, written on top.
        names: One a row, written at its left; a line break starts a fainter second line.
        bars: Whether each row ends in a narrow cell for a colour bar.
        groups: Whether to leave room for headings over the titles.
        legend: Whether to leave room for the tissue colours at the foot.

    Returns:
        The figure, its cells by row and column, and the narrow cells (none without ``bars``).
    """
    gap, rows = 0.06, len(names)
    head, foot, tail = 0.62 if groups else 0.32, 0.32 if legend else 0.0, 0.74 if bars else 0.0
    start = gap + (0.36 if any("\n" in name for name in names) else 0.24)
    ends = start + len(titles) * (_CELL + gap)
    width, height = ends + tail, head + rows * (_CELL + gap) + foot
    figure = make_figure(width, height, STAGE)

    def add(row: int, left: float, wide: float) -> Axes:
        bottom = height - head - row * (_CELL + gap) - _CELL
        axes = figure.add_axes((left / width, bottom / height, wide / width, _CELL / height))
        axes.set_axis_off()
        return axes

    grid = [[add(row, start + column * (_CELL + gap), _CELL) for column in range(len(titles))] for row in range(rows)]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, color=BRIGHT, fontsize=9.5, pad=5)
    for row, name in enumerate(names):
        _write_side(grid[row][0], *name.split("\n", 1))
    return figure, grid, [add(row, ends + 0.02, tail) for row in range(rows)] if bars else []


def _write_side(axes: Axes, name: str, detail: str = "") -> None:
    """Write a row's name upwards at the left of its first cell."""
    look: dict[str, Any] = {"transform": axes.transAxes, "rotation": 90, "va": "center", "parse_math": False}
    short = name if len(name) <= 24 else f"{name[:11]}…{name[-11:]}"
    axes.text(-0.125 if detail else -0.04, 0.5, short, color=BRIGHT, fontsize=8 if detail else 9.5, ha="right", **look)
    axes.text(-0.03, 0.5, detail, color=SOFT, fontsize=8, ha="right", **look)


def crop_boxes(brains: Sequence[NDArray[np.bool_]]) -> list[tuple[int, int, int]]:
    """A square round each brain; one side for all, so that pictures share a scale."""
    spans = []
    for brain in brains:
        rows, columns = (np.flatnonzero(brain.any(axis)) for axis in (1, 0))
        inside = rows.size > 0
        spans.append(
            (rows[0], rows[-1], columns[0], columns[-1]) if inside else (0, brain.shape[0] - 1, 0, brain.shape[1] - 1)
        )
    side = max(int(max(bottom - top, right - left)) + 1 for top, bottom, left, right in spans)
    side += 2 * max(1, side // 24)
    return [(int(a + b + 1 - side) // 2, int(c + d + 1 - side) // 2, side) for a, b, c, d in spans]


def white_level(x: NDArray[np.floating], brain: NDArray[np.bool_]) -> float:
    """Intensity shown as white: the brain's 99.8th percentile."""
    return max(float(np.percentile(x[brain], 99.8)), 1e-3) if brain.any() else 1.0


def draw_grey(axes: Axes, picture: NDArray[np.floating], box: tuple[int, int, int], white: float) -> None:
    """Draw a ``(H, W)`` slice in grey from 0 to ``white``, cropped to ``box``."""
    axes.imshow(to_display(crop(picture, box)), cmap="gray", vmin=0, vmax=white, interpolation="bilinear")


def write_legend(figure: Figure) -> None:
    """Write the tissue colours under the pictures."""
    handles = [Patch(facecolor=colour, label=name) for name, colour in TISSUE_COLOURS.items()]
    legend = figure.legend(handles=handles, loc="lower left", ncols=3, frameon=False, fontsize=8.5, title=None)
    legend.set_bbox_to_anchor((0.0, -0.01), transform=figure.transFigure)
    for text in legend.get_texts():
        text.set_color(BRIGHT)
