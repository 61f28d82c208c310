"""Drawing: from a prepared scan to a varied one with lesions, and the map of where a lesion can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from scipy import ndimage

from semcycle.config import Config
from semcycle.store.anomalies.acquisition import average_slices, change_contrast, move
from semcycle.store.anomalies.canvas import Canvas
from semcycle.store.anomalies.confounders import CONFOUNDERS, add_rim
from semcycle.store.anomalies.lesions import LESION_KINDS
from semcycle.store.anomalies.shapes import Pattern
from semcycle.types import SliceArray, SliceMask, Spacing

LesionKind = Literal["tumour", "oedema", "stroke", "plaques", "spots", "faint", "dark"]
FREQUENCIES: dict[LesionKind, float] = {
    "tumour": 0.28,
    "oedema": 0.1,
    "stroke": 0.12,
    "plaques": 0.2,
    "spots": 0.15,
    "faint": 0.08,
    "dark": 0.07,
}
"""Of the kinds."""
HEALTHY, ANOMALY, UNCERTAIN = 0, 1, 2
"""Values of the target."""


class DrawingSettings(Config):
    """What is drawn how often, and what counts as seen."""

    kinds: dict[LesionKind, float] = Field(default_factory=lambda: dict(FREQUENCIES))
    """Relative frequencies of the kinds; on the command line ``tumour:0.2,spots:0.8``."""
    healthy: float = Field(0.15, ge=0, le=1)
    """Share of scans without any."""
    second: float = Field(0.35, ge=0, le=1)
    """Share of the others with one of another kind beside it."""
    visible: float = Field(0.08, gt=0)
    """A voxel is an anomaly where it changed by more than this share of the brain's median ..."""
    half: float = Field(0.5, gt=0, le=1)
    """... and lesion fills so much of it."""
    doubtful: float = Field(0.1, ge=0, le=1)
    """Filled less than ``half`` but more than this, or changed too little: uncertain, left out of the loss."""
    confounders: bool = True
    """Draw harmless things that look like lesions."""
    rim: float = Field(0.25, ge=0, le=1)
    """Share of scans with bits of eye or skin at the rim, where there are confounders."""
    coils: float = Field(0.35, ge=0, le=1)
    """Share of scans that are varied which have the field of a coil beside the head."""
    vary: bool = True
    """Change position, contrast, sharpness and slice thickness."""
    widen: float = Field(0.5, ge=0, le=1)
    """Largest magnification of the middle of the head, as if the ventricles were wide."""
    noise: float = Field(0.025, ge=0)
    """Largest standard deviation of the noise that is added."""
    slice_mm: float = Field(6.5, gt=0)
    """Largest distance of slices."""
    slices: int = Field(56, ge=1, le=1000)
    """At most so many neighbouring slices a copy."""

    @field_validator("kinds", mode="before")
    @classmethod
    def _read_kinds(cls, kinds: object) -> object:
        """``tumour:0.2,spots:0.8`` as a mapping."""
        return dict(pair.partition(":")[::2] for pair in kinds.split(",")) if isinstance(kinds, str) else kinds

    @field_validator("kinds")
    @classmethod
    def _sum_kinds(cls, kinds: dict[LesionKind, float]) -> dict[LesionKind, float]:
        if min(kinds.values(), default=0) < 0 or not 0 < sum(kinds.values()) < float("inf"):
            msg = "expected frequencies of 0 or more, and one of them above 0"
            raise ValueError(msg)
        return kinds


@dataclass(frozen=True)
class Drawn:
    """A scan with drawn lesions.

    Attributes:
        image: ``(S, H, W)`` in [0, 1], 0 outside the brain.
        clean: The same scan without them and without noise.
        brain: ``(S, H, W)``.
        lesion: ``(S, H, W)`` the patient's own lesions.
        target: ``(S, H, W)`` uint8: 0 healthy, 1 anomaly, 2 uncertain.
        height: ``(S,)`` position of the slices in the brain, 0 at its foot, 1 at its top.
        index: ``(S,)`` the slices of the scan they were made of (the first of each).
        spacing: Voxel size in mm.
        kinds: What was drawn.
    """

    image: SliceArray
    clean: SliceArray
    brain: SliceMask
    lesion: SliceMask
    target: NDArray[np.uint8]
    height: NDArray[np.float32]
    index: NDArray[np.int32]
    spacing: Spacing
    kinds: tuple[str, ...]


def draw_anomalies(
    image: SliceArray,
    brain: SliceMask,
    lesion: SliceMask,
    spacing: Spacing,
    rng: np.random.Generator,
    settings: DrawingSettings | None = None,
    strokes: Sequence[Pattern] = (),
    plaques: Sequence[Pattern] = (),
) -> Drawn:
    """Vary a scan and draw lesions into it.

    Args:
        image: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``.
        lesion: ``(S, H, W)`` the patient's own lesions: nothing is drawn within 6 mm.
        spacing: Voxel size in mm.
        rng: The outcome is a function of it.
        settings: How.
        strokes: Shapes of strokes.
        plaques: Shapes of plaques.
    """
    how = settings or DrawingSettings()
    image = np.asarray(image, np.float32)
    if how.vary:
        image, (brain, lesion) = move(image, [brain, lesion], spacing, rng, widen=how.widen)
        image = change_contrast(image, brain, spacing, rng, coils=how.coils)
    if how.confounders and rng.random() < how.rim:
        image, brain = add_rim(image, brain, spacing, rng)
    reach = [2 * max(1, round(6 / step)) + 1 for step in spacing]
    avoid = ndimage.maximum_filter(lesion, size=reach) if lesion.any() else lesion.copy()
    canvas = Canvas.of(image, brain, avoid, spacing, rng)
    for draw_confounder, probability in CONFOUNDERS.values() if how.confounders else ():
        if rng.random() < probability:
            draw_confounder(canvas)
    canvas.clean[~brain] = 0
    canvas.pasted = canvas.clean.copy()
    kinds = _choose(how, rng) if canvas.free.any() else ()
    for kind in kinds:
        LESION_KINDS[kind](canvas, strokes, plaques)
    return _sample(canvas, lesion, how, kinds)


def _choose(how: DrawingSettings, rng: np.random.Generator) -> tuple[str, ...]:
    if rng.random() < how.healthy:
        return ()
    names = list(how.kinds)
    shares = np.array([how.kinds[name] for name in how.kinds])
    count = 2 if rng.random() < how.second else 1
    return tuple(str(name) for name in rng.choice(names, size=count, p=shares / shares.sum()))


def _sample(canvas: Canvas, lesion: SliceMask, how: DrawingSettings, kinds: tuple[str, ...]) -> Drawn:
    """Slices of another thickness, noise, and the target: where the scan with lesions differs from the one without."""
    rng, distance = canvas.rng, canvas.spacing[0]
    most = max(1, int(how.slice_mm / distance))
    step = int(min(most, rng.choice([1, 1, 2, 2, 3, 4, 5, 6]))) if how.vary else 1
    thick = step if step > 1 and rng.random() < 0.7 else 1
    first = int(rng.integers(step))
    starts = np.arange(first, len(canvas.clean) - thick + 1, step)
    if len(starts) > how.slices:
        last, drawn = len(starts) - how.slices, np.flatnonzero((canvas.weight > how.half).any(axis=(1, 2)))
        begin = int(rng.integers(last + 1))
        if len(drawn) and rng.random() < 0.8:  # most parts of a scan show what was drawn
            begin = int(np.clip(int(rng.choice(drawn)) // step - rng.integers(how.slices), 0, last))
        starts = starts[begin : begin + how.slices]
    stop = int(starts[-1]) + thick

    def thin(data: NDArray[np.floating | np.bool_]) -> NDArray[np.float32]:
        return average_slices(data[:stop], thick, int(starts[0]), step)

    brain = thin(canvas.brain) > 0.5
    clean, pasted, weight = thin(canvas.clean), thin(canvas.pasted), thin(canvas.weight)
    change = np.abs(pasted - clean)
    seen = (weight > how.half) & (change > how.visible * canvas.median) & brain
    doubt = (weight > how.doubtful) & ~seen & brain & (change > 0.015 * canvas.median)
    target = np.where(seen, ANOMALY, np.where(doubt, UNCERTAIN, HEALTHY)).astype(np.uint8)
    image = pasted
    if how.vary:
        noise = rng.uniform(0, how.noise) * rng.standard_normal(image.shape, dtype=np.float32)
        image = np.clip(image + noise, 0, 1)
    shown = np.flatnonzero(canvas.brain.any(axis=(1, 2)))
    low, high = int(shown[0]), int(shown[-1]) + 1
    if how.vary:  # a scan may begin above the foot of the brain and end below its top
        cut = rng.uniform(-0.04, 0.12, 2) * (high - low)
        low, high = low + cut[0], high - cut[1]
    height = np.clip((starts + (thick - 1) / 2 - low) / (high - low), 0, 1).astype(np.float32)
    spacing = (distance * step, canvas.spacing[1], canvas.spacing[2])
    return Drawn(
        np.where(brain, image, np.float32(0)),
        np.where(brain, clean, np.float32(0)),
        brain,
        thin(lesion) > 0.25,
        target,
        height,
        starts.astype(np.int32),
        spacing,
        kinds,
    )
