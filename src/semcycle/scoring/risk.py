"""Conformal risk control: the lowest cut whose expected loss on the next scan stays below a limit [angelopoulos2024].

Let n scans be drawn like the next one, and let each have a loss between 0 and B that does not rise with the cut. With
R(t) their mean loss at the cut t, the lowest t with

    n / (n + 1) R(t) + B / (n + 1) <= limit

keeps the expected loss of the next scan at or below the limit. The second term is what the unseen scan may add: n scans
cannot promise less than B / (n + 1), however small their losses are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from semcycle.training.calibration import Promise

LEVELS = 1 << 14
"""Cuts between 0 and 1 that are tried; one more calls nothing."""


class Cut(NamedTuple):
    """Where scores are cut, and what that keeps.

    Attributes:
        place: Of the cut in :func:`cuts`.
        promise: What it keeps.
    """

    place: int
    promise: Promise


def cuts() -> NDArray[np.float64]:
    """The cuts ``(L,)`` that are tried, ascending; the last is above every score."""
    return np.append(np.arange(LEVELS + 1) / LEVELS, 1 + 1 / LEVELS)


def scans_needed(limit: float, bound: float) -> int:
    """The fewest scans that can promise a limit at all: B / (n + 1) <= limit."""
    return max(1, math.ceil(bound / limit - 1 - 1e-9))


def control_risk(losses: NDArray[np.floating], limit: float, bound: float, objections: str = "") -> Cut:
    """The lowest cut that keeps a limit, with a promise where enough scans allow one.

    Args:
        losses: ``(n, L)`` loss of every scan at every cut, not rising along L, 0 at its end.
        limit: Of the expected loss.
        bound: B; larger losses count as this.
        objections: Why there can be no promise even so; empty where nothing speaks against it.

    Returns:
        The cut. Where there are too few scans it is the lowest with a mean loss at or below the limit. Without a
        promise it is called an estimate.
    """
    clipped = np.minimum(losses, bound)
    n, least = len(losses), scans_needed(limit, bound)
    if n < least:
        objections = f"{n} scans are too few, {least} are the least that can promise it"
    place = _lowest(clipped, limit, bound if n >= least else 0.0)
    others = [np.delete(clipped, i, axis=0) for i in range(n)] if n > 1 else [clipped]
    add = bound if n - 1 >= least else 0.0
    seen = [float(clipped[i, _lowest(rest, limit, add)]) for i, rest in enumerate(others)]
    promise = Promise(
        limit=limit, bound=bound, scans=n, kept=not objections, why_not=objections, seen=round(float(np.mean(seen)), 6)
    )
    return Cut(place, promise)


def share_above(scores: NDArray[np.floating], weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Share of scores, or sum of their weights, that reach each of the :func:`cuts`.

    Args:
        scores: ``(N,)`` in [0, 1].
        weights: ``(N,)``; each counts 1 / N without.
    """
    bins = np.clip((np.asarray(scores, np.float64) * LEVELS).astype(np.intp), 0, LEVELS)
    counts = np.bincount(bins, weights, LEVELS + 2).astype(np.float64)
    above = counts[::-1].cumsum()[::-1]
    return above if weights is not None else above / max(len(bins), 1)


def _lowest(losses: NDArray[np.floating], limit: float, bound: float) -> int:
    """Index of the lowest cut that keeps the limit, with the unseen scan's share of the risk where it has a bound."""
    n = len(losses)
    risk = losses.mean(axis=0) if not bound else losses.sum(axis=0) / (n + 1) + bound / (n + 1)
    return int(np.argmax(risk <= limit + 1e-12))
