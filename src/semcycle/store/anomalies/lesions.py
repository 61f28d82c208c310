"""Kinds of drawn lesions: tumour, oedema, stroke, plaques, and many small spots.

A lesion on T2 is mostly brighter than the tissue it lies in, by 5 to 120 % here; some are darker (blood, calcium). It
replaces the tissue by a grey of its own or lets it shine through. To add a kind: a function of a canvas and a line in
``LESION_KINDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from semcycle.store.anomalies.canvas import Canvas, sigmoid
from semcycle.store.anomalies.shapes import Pattern, draw_blob, draw_wedge, place_pattern
from semcycle.types import Box

Patterns = Sequence[Pattern]
DARK = 0.14
"""Share of lesions that are darker than what they lie in."""


def draw_tumour(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """A mass of 8 to 42 mm radius with a core of another grey, a rim or a cyst, often in a cloud of oedema."""
    rng, centre = canvas.rng, canvas.pick(canvas.free)
    if centre is None:
        return
    radius = rng.uniform(8, 42)
    if rng.random() < 0.5:
        _draw_cloud(canvas, centre, radius * rng.uniform(1.1, 1.6))
        radius = rng.uniform(6, 0.8 * radius) if radius > 9 else radius
    box, weight, distance = draw_blob(canvas, centre, radius, rough=rng.uniform(0.1, 0.45), edge=rng.uniform(0.02, 0.3))
    level = _grey(canvas, box, weight, _factor(rng, 1.08, 2.2))
    level = level * (1 + rng.uniform(0, 0.25) * canvas.noise(level.shape, rng.uniform(1.5, 8)))
    if rng.random() < 0.55:
        inner = sigmoid((rng.uniform(0.35, 0.95) - distance + 0.1 * canvas.noise(distance.shape, 6)) / 0.08)
        core = canvas.fluid * rng.uniform(0.8, 1.4) if rng.random() < 0.5 else canvas.median * rng.uniform(0.4, 2.2)
        level = level * (1 - inner) + inner * core
    if rng.random() < 0.25:
        ring = sigmoid((0.15 - np.abs(distance - rng.uniform(0.7, 1))) / 0.05)
        level = level * (1 - ring) + ring * canvas.median * rng.uniform(0.6, 1.1)
    if rng.random() < 0.6:
        weight = weight * np.maximum(canvas.solid(box), rng.choice([0.0, 1.0]))
    canvas.add(box, weight, level, rng.uniform(0.55, 1))


def draw_oedema(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """A cloud of 10 to 40 mm in white matter."""
    white = canvas.white()
    centre = canvas.pick(white if canvas.rng.random() < 0.8 else canvas.free)
    if centre is not None:
        _draw_cloud(canvas, centre, canvas.rng.uniform(10, 40))


def draw_stroke(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """A wedge to the cortex, or the shape of a real stroke: even brightness, or a hole of fluid with a bright edge."""
    rng = canvas.rng
    if strokes and rng.random() < 0.6:
        fraction = place_pattern(canvas, strokes[int(rng.integers(len(strokes)))])
    else:
        fraction = draw_wedge(canvas)
    if fraction is None:
        return
    box, weight = fraction
    if rng.random() < 0.5:  # keep what is fluid: sulci over a fresh stroke stay open
        weight = weight * canvas.solid(box)
    level = _grey(canvas, box, weight, _factor(rng, 1.1, 1.9))
    level = level * (1 + rng.uniform(0, 0.12) * canvas.noise(level.shape, rng.uniform(2, 8)))
    if rng.random() < 0.4:  # an old stroke: fluid within, gliosis around
        inner = sigmoid((weight - 0.8 + 0.25 * canvas.noise(weight.shape, 5)) / 0.08)
        level = level * (1 - inner) + inner * canvas.fluid * rng.uniform(0.85, 1.1)
    canvas.add(box, weight, level, rng.uniform(0.5, 1))


def draw_plaques(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """A patient's plaques where they were, or some of them anywhere in white matter; spots without a library."""
    rng = canvas.rng
    if not plaques:
        draw_spots(canvas)
        return
    factor = rng.uniform(1.15, 1.9)
    if rng.random() < 0.5:
        fraction = place_pattern(canvas, plaques[int(rng.integers(len(plaques)))])
        if fraction is not None:
            box, weight = fraction
            _draw_plaque(canvas, box, weight * canvas.solid(box), factor)
        return
    white = canvas.white()
    for _ in range(rng.integers(4, 25)):
        centre = canvas.pick(white if rng.random() < 0.8 else canvas.free)
        pattern = plaques[int(rng.integers(len(plaques)))]
        if centre is None or not pattern.lesions:
            continue
        number = int(min(rng.integers(len(pattern.lesions)), rng.integers(len(pattern.lesions)) + 3))
        number = min(number, len(pattern.lesions) - 1)
        fraction = place_pattern(canvas, pattern, component=number, centre=centre)
        if fraction is not None:
            box, weight = fraction
            _draw_plaque(canvas, box, weight * canvas.solid(box), factor * rng.uniform(0.85, 1.15))


def draw_spots(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """Three to 25 spots of 1.5 to 7 mm radius, mostly in white matter, many of them at the ventricles."""
    rng, white = canvas.rng, canvas.white()
    common = _factor(rng, 1.15, 2.0)
    for _ in range(rng.integers(3, 26)):
        centre = canvas.pick(white if rng.random() < 0.75 else canvas.free)
        if centre is None:
            return
        radius = rng.uniform(1.5, 4) if rng.random() < 0.7 else rng.uniform(3, 7)
        box, weight, _ = draw_blob(canvas, centre, radius, rough=rng.uniform(0.1, 0.3), edge=rng.uniform(0.1, 0.4))
        _draw_plaque(canvas, box, weight * canvas.solid(box), common * rng.uniform(0.9, 1.1))


def draw_faint(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """A mass or cloud whose tissue shines through: 5 to 25 % brighter or 8 to 25 % darker."""
    rng, centre = canvas.rng, canvas.pick(canvas.free)
    if centre is None:
        return
    box, weight, _ = draw_blob(
        canvas, centre, rng.uniform(6, 35), rough=rng.uniform(0.1, 0.45), edge=rng.uniform(0.05, 0.35)
    )
    factor = rng.uniform(1.05, 1.25) if rng.random() < 0.75 else rng.uniform(0.75, 0.92)
    canvas.add(box, weight, canvas.pasted[box] * factor)


def draw_dark(canvas: Canvas, strokes: Patterns = (), plaques: Patterns = ()) -> None:
    """One to three dark pieces of 3 to 18 mm: blood, calcium."""
    rng = canvas.rng
    for _ in range(rng.integers(1, 4)):
        centre = canvas.pick(canvas.free)
        if centre is None:
            return
        box, weight, _ = draw_blob(
            canvas, centre, rng.uniform(3, 18), rough=rng.uniform(0.1, 0.4), edge=rng.uniform(0.03, 0.3)
        )
        canvas.add(box, weight, _grey(canvas, box, weight, rng.uniform(0.2, 0.75)), rng.uniform(0.6, 1))


LESION_KINDS: dict[str, Callable[[Canvas, Patterns, Patterns], None]] = {
    "tumour": draw_tumour,
    "oedema": draw_oedema,
    "stroke": draw_stroke,
    "plaques": draw_plaques,
    "spots": draw_spots,
    "faint": draw_faint,
    "dark": draw_dark,
}
"""Name -> draws one lesion, or one patient's many small ones."""


def _draw_cloud(canvas: Canvas, centre: NDArray[np.intp], radius: float) -> None:
    """Oedema: bright, without a sharp edge, along white matter and hardly in the cortex."""
    rng = canvas.rng
    box, weight, _ = draw_blob(canvas, centre, radius, rough=rng.uniform(0.3, 0.6), edge=rng.uniform(0.05, 0.25))
    clean = canvas.clean[box]
    white = sigmoid((rng.uniform(0.95, 1.25) * canvas.median - clean) / (0.08 * canvas.median))
    weight = weight * np.maximum(white, rng.uniform(0, 0.4)) * np.maximum(canvas.solid(box), 0.05)
    level = _grey(canvas, box, weight, rng.uniform(1.1, 2.2))
    canvas.add(box, weight, level * (1 + 0.05 * canvas.noise(level.shape, 5)), rng.uniform(0.5, 1))


def _draw_plaque(canvas: Canvas, box: Box, weight: NDArray[np.float32], factor: float) -> None:
    level = _grey(canvas, box, weight, factor)
    canvas.add(box, weight, level * (1 + canvas.rng.uniform(0, 0.1) * canvas.noise(level.shape, 2.5)))


def _factor(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(0.3, 0.85) if rng.random() < DARK else rng.uniform(low, high))


def _grey(canvas: Canvas, box: Box, weight: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Intensities of a lesion ``factor`` times as bright as the tissue there, the brain, or every voxel of it."""
    here, rng = canvas.pasted[box], canvas.rng
    if rng.random() < 0.4:
        return here * np.float32(factor)
    inside = here[(weight > 0.3) & canvas.free[box]]
    local = float(np.median(inside)) if inside.size and rng.random() < 0.6 else canvas.median
    return np.full(here.shape, local * factor, np.float32)
