"""Score histogram: how a brain's anomaly scores are spread, drawn as lines of the page itself, in its colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BINS = 64
WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 26, 40


def draw_histogram(scores: NDArray[np.floating], threshold: float | None) -> dict[str, Any]:
    """Bars on a logarithmic scale, ticks and the threshold's place, for the template to draw as SVG.

    Args:
        scores: ``(N,)`` scores of the brain's voxels, not empty.
        threshold: Where they are cut, or ``None``.

    Returns:
        Coordinates in a box of ``WIDTH`` x ``HEIGHT``.
    """
    last = max(float(scores.max()), 1.1 * (threshold or 0), 1e-3)
    counts, edges = np.histogram(scores, _BINS, (0, last))
    decades = max(int(np.ceil(np.log10(max(counts.max(), 10)))), 1)
    wide, high = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM

    def across(score: float) -> float:
        return round(_LEFT + wide * min(max(score / last, 0), 1), 1)

    def up(count: float) -> float:
        return round(_TOP + high * (1 - (np.log10(max(count, 0.8)) - np.log10(0.8)) / (decades - np.log10(0.8))), 1)

    bars = [
        {
            "x": across(start),
            "y": up(count),
            "width": round(wide / _BINS - 1, 1),
            "height": round(_TOP + high - up(count), 1),
            "called": threshold is not None and start >= threshold - 0.5 * last / _BINS,
        }
        for count, start in zip(counts, edges[:-1], strict=True)
        if count
    ]
    above = int((scores >= threshold).sum()) if threshold is not None else 0
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": _LEFT,
        "right": WIDTH - _RIGHT,
        "top": _TOP,
        "bottom": _TOP + high,
        "last": last,
        "bars": bars,
        "ticks": [{"x": across(score), "text": f"{score:.2g}"} for score in _round_ticks(last)],
        "counts": [{"y": up(10**power), "text": f"{10**power:,}".replace(",", " ")} for power in range(decades + 1)],
        "threshold": None if threshold is None else _mark(across(threshold), threshold),
        "words": f"Histogram of {scores.size} scores: median {np.median(scores):.3g}, 99th percentile "
        f"{np.percentile(scores, 99):.3g}, highest {scores.max():.3g}"
        + (
            "." if threshold is None else f"; {100 * above / scores.size:.2g} % reach the threshold of {threshold:.3g}."
        ),
    }


def _mark(x: float, threshold: float) -> dict[str, Any]:
    """The threshold's line and its words, which stand where there is room."""
    left = x > WIDTH / 2
    words = {"anchor": "end" if left else "start", "shift": -6 if left else 6}
    return {"x": x, "text": f"threshold {threshold:.3g}", **words}


def _round_ticks(last: float) -> list[float]:
    """Four to nine round numbers from 0."""
    step = 10 ** np.floor(np.log10(last))
    step = next(step * part for part in (0.2, 0.5, 1, 2) if last / (step * part) <= 8)
    return [float(step * count) for count in range(int(last / step + 1e-9) + 1)]
