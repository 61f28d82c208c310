"""Error rates: sensitivity over false positives, of voxels (ROC) and of lesions (FROC)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semcycle.report.canvas import STYLE, make_figure
from semcycle.report.curves import CURVE_COLOURS, DASHES, INK, PlottedCurve, Theme, dress_axes

LOWEST_RATE = 1e-4
"""Left end of the false-positive rates: what matters in use lies below 5 %, so the scale is logarithmic."""


def rates_figure(curves: Sequence[PlottedCurve], *, theme: Theme = "light") -> Figure:
    """Draw the ROC curves, and the FROC curves where lesions were looked at.

    Args:
        curves: One a run, all of the same preset; those without rates are left out.
        theme: On white or on dark paper.
    """
    ink = INK[theme]
    lesions = any(curve.froc_sensitivity is not None for curve in curves)
    with mpl.rc_context(STYLE | {"text.color": ink["text"], "axes.labelcolor": ink["text"]}):
        figure = make_figure(9.6, 4.1, ink["paper"])
        roc, other = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.985, top=0.91, bottom=0.135, wspace=0.18)
        for position, curve in enumerate(curves):
            look = {
                "color": CURVE_COLOURS[theme][position % 8],
                "linestyle": DASHES[(position + position // 8) % 4],
                "linewidth": 1.8,
                "label": curve.run,
            }
            if curve.fpr is not None:
                roc.plot(np.maximum(curve.fpr, LOWEST_RATE / 10), curve.recall, **look)
            if curve.froc_sensitivity is not None and curve.froc_false_positives is not None:
                other.plot(curve.froc_false_positives, curve.froc_sensitivity, **look)
        rates = np.geomspace(LOWEST_RATE, 1, 100)
        roc.plot(rates, rates, color=ink["faint"], linewidth=1, linestyle=":")
        roc.set(xscale="log", xlim=(LOWEST_RATE, 1), ylim=(0, 1.02))
        roc.set(xlabel="false-positive rate", ylabel="sensitivity")
        _finish(roc, "Sensitivity over false-positive rate (dotted: chance)", ink)
        if lesions:
            other.set_xscale("symlog", linthresh=1)
            other.set(xlim=(0, None), ylim=(0, 1.02), xlabel="false components a scan")
            other.set_ylabel("share of lesions found")
            _finish(other, "Lesions found over false alarms", ink)
        else:
            other.remove()
        handles, labels = roc.get_legend_handles_labels()
        roc.legend(handles, labels, loc="upper left", frameon=False, fontsize=8.5, labelcolor=ink["text"])
    return figure


def _finish(axes: Axes, title: str, ink: dict[str, str]) -> None:
    dress_axes(axes, ink)
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
