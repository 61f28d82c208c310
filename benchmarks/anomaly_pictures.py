"""Drawn anomalies of every kind in one prepared scan, for the docs: the scan with them, and the target beside it.

    python benchmarks/anomaly_pictures.py STORE CASE docs/images/anomalies.png --strokes MASKS --plaques MASKS

Pictures of patients may not be published for every collection; the one in the docs is of a BrainWeb anatomy.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from semcycle.store.anomalies.drawing import ANOMALY, UNCERTAIN, DrawingSettings, Drawn, draw_anomalies
from semcycle.store.anomalies.lesions import LESION_KINDS
from semcycle.store.anomalies.shapes import read_patterns
from semcycle.store.slice_store import SliceStore, voxel_size

EXAMPLES = 2
"""Of every kind."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("case")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--strokes", type=Path, help="folder of stroke masks in MNI space")
    parser.add_argument("--plaques", type=Path, help="folder of masks of MS lesions in MNI space")
    parser.add_argument("--leave-out", action="append", default=[], help="part of the names of masks not to be used")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    strokes, plaques = (
        read_patterns(folder, options.leave_out) if folder else [] for folder in (options.strokes, options.plaques)
    )
    case = SliceStore(options.store).load(options.case)
    image, brain = np.asarray(case.image, np.float32), np.asarray(case.brain) > 0
    figure = Figure(figsize=(2 * EXAMPLES * 1.5, (len(LESION_KINDS) + 1) * 1.75), facecolor="black")
    axes = figure.subplots(len(LESION_KINDS) + 1, 2 * EXAMPLES, gridspec_kw={"wspace": 0, "hspace": 0.12})
    for row, kind in enumerate([*LESION_KINDS, "healthy"]):
        chosen = {"healthy": 1.0} if kind == "healthy" else {"kinds": {kind: 1.0}, "healthy": 0.0, "second": 0.0}
        settings = DrawingSettings.model_validate(chosen)
        for example in range(EXAMPLES):
            rng = np.random.default_rng([options.seed, row, example])
            drawn = draw_anomalies(
                image, brain, case.abnormal, voxel_size(case.record), rng, settings, strokes, plaques
            )
            show(axes[row, 2 * example : 2 * example + 2], drawn, kind)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.picture, dpi=80, bbox_inches="tight", pad_inches=0.05, facecolor="black")
    print(options.picture, f"{options.picture.stat().st_size / 1000:.0f} kB")


def show(axes: np.ndarray, drawn: Drawn, kind: str) -> None:
    """The slice with most of the anomaly, without and with the target."""
    amount = (drawn.target == ANOMALY).sum(axis=(1, 2))
    index = int(np.argmax(amount)) if amount.any() else len(amount) // 2
    grey = np.repeat(np.clip(1.3 * drawn.image[index], 0, 1)[..., None], 3, axis=2)
    marked = grey.copy()
    for value, colour in ((ANOMALY, (1.0, 0.25, 0.2)), (UNCERTAIN, (0.3, 0.5, 1.0))):
        chosen = drawn.target[index] == value
        marked[chosen] = 0.45 * marked[chosen] + 0.55 * np.array(colour)
    rows, columns = (np.flatnonzero(drawn.brain.any(axis=axis)) for axis in ((0, 2), (0, 1)))
    part = (slice(max(rows[0] - 4, 0), rows[-1] + 4), slice(max(columns[0] - 4, 0), columns[-1] + 4))
    for axis, picture in zip(axes, (grey, marked), strict=True):
        axis.imshow(picture[part], origin="lower", interpolation="nearest")
        axis.set_axis_off()
    axes[0].set_title(kind, color="white", fontsize=8, loc="left", pad=2)


if __name__ == "__main__":
    main()
