"""Overview: one predicted scan at a glance, the picture that ``semcycle predict`` leaves beside its maps."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from semcycle.prediction.prediction import Prediction
from semcycle.report import canvas
from semcycle.types import SliceMask

_COLUMNS = 8
"""Slices shown at most."""
_THUMBNAIL = 1.1
"""Inches of the sides of a thumbnail."""


def overview_figure(prediction: Prediction) -> Figure:
    """Draw evenly spaced axial slices from foot to head: input, tissue, reconstruction, anomaly over the input.

    Tissue and reconstruction are shown in the brain alone, as nothing is known outside it.

    The overlay shows where the score stands out: it is clear below a tenth of its scale and opaque from its
    upper half on; the scale runs from 0 to the 99.8th percentile of the brain's scores. The lesion mask is outlined.
    """
    x, brain, scores = prediction.prepared.image, prediction.prepared.brain, prediction.scores
    tissue, mask = prediction.tissue, prediction.mask_native()
    lesion = None if mask is None else prediction.prepared.record.grid.forward(mask) > 0.5
    shown = choose_slices(brain)
    boxes = canvas.crop_boxes([brain[index] for index in shown])
    rows = ["input", *(["tissue"] if tissue is not None else []), "reconstruction", "anomaly"]
    white = canvas.white_level(x, brain)
    top = max(float(np.percentile(scores[brain], 99.8)), 1e-3)
    with mpl.rc_context(canvas.STYLE):
        titles = [f"slice {index}" for index in shown]
        figure, grid, bars = canvas.make_stage(titles, rows, legend=tissue is not None)
        for column, (index, box) in enumerate(zip(shown, boxes, strict=True)):
            cells = {name: grid[row][column] for row, name in enumerate(rows)}
            canvas.draw_grey(cells["input"], x[index], box, white)
            canvas.draw_grey(cells["anomaly"], x[index], box, white)
            if tissue is not None:
                cells["tissue"].imshow(
                    canvas.to_display(canvas.crop(canvas.tissue_rgb(tissue[index] * brain[index]), box))
                )
            canvas.draw_grey(cells["reconstruction"], prediction.reconstruction[index] * brain[index], box, white)
            _lay_over(cells["anomaly"], canvas.crop(scores[index] * brain[index], box), top)
            if lesion is not None:
                canvas.draw_outline(cells["anomaly"], canvas.crop(lesion[index], box))
        canvas.draw_marks(grid[0][0])
        canvas.draw_bar(bars[-1], top, "anomaly score")
        if tissue is not None:
            canvas.write_legend(figure)
    return figure


def thumbnail_figure(prediction: Prediction) -> Figure:
    """Draw a scan's worst axial slice, small: that with most of the lesion mask, or without one the highest mean score.

    The mask is outlined.
    """
    x, brain, mask = prediction.prepared.image, prediction.prepared.brain, prediction.mask_native()
    lesion = np.zeros_like(brain) if mask is None else prediction.prepared.record.grid.forward(mask) > 0.5
    weight = lesion if lesion.any() else prediction.scores * brain
    index = int(weight.sum(axis=(1, 2)).argmax())
    (box,) = canvas.crop_boxes([brain[index]])
    with mpl.rc_context(canvas.STYLE):
        figure = canvas.make_figure(_THUMBNAIL, _THUMBNAIL, canvas.STAGE)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        canvas.draw_grey(axes, x[index], box, canvas.white_level(x, brain))
        canvas.draw_outline(axes, canvas.crop(lesion[index], box))
    return figure


def choose_slices(brain: SliceMask, count: int = _COLUMNS) -> list[int]:
    """Evenly spaced indices of slices that hold at least a fifth as much brain as the fullest one.

    Args:
        brain: ``(S, H, W)``.
        count: How many at most.

    Raises:
        ValueError: No slice holds brain.
    """
    areas = brain.sum(axis=(1, 2))
    full = np.flatnonzero(areas >= max(areas.max() * 0.2, 1)) if areas.size else np.empty(0, int)
    if not full.size:
        msg = "brain: expected a mask with brain in it, got an empty one; check the brain mask"
        raise ValueError(msg)
    places = np.linspace(0, full.size - 1, min(count, full.size)).round().astype(int)
    return [int(index) for index in full[places]]


def _lay_over(axes: Axes, score: NDArray[np.floating], top: float) -> None:
    share = np.clip(score / top, 0, 1)
    picture = np.array(mpl.colormaps[canvas.ANOMALY_MAP](share), np.float32)
    picture[..., 3] = np.clip(2 * share - 0.2, 0, 1)
    axes.imshow(canvas.to_display(picture), interpolation="bilinear")
