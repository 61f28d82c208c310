"""Quantiles of a whole prepared scan, small enough to be kept where only some of its slices are.

The hyper-intensity prior of the reference code [baur2021] blanks what is darker than the 0.9 quantile of the whole
scan, its background and its slices without brain included. A store keeps neither all slices nor all brain.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from semcycle.types import SliceArray

ScanQuantiles: TypeAlias = NDArray[np.float32]
"""``(1001,)``: the quantiles 0, 0.001, ... 1 of a scan's intensities."""
STEPS = 1000


def scan_quantiles(image: SliceArray) -> ScanQuantiles:
    """Quantiles of all slices ``(S, H, W)`` of a scan, background included."""
    return np.quantile(image, np.arange(STEPS + 1) / STEPS).astype(np.float32)


def read_quantile(quantiles: ScanQuantiles, share: float) -> float:
    """The intensity below which ``share`` of the scan lies; between two kept quantiles on the line that joins them."""
    return float(np.interp(share * STEPS, np.arange(STEPS + 1), quantiles))
