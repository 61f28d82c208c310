"""The 5 x 5 x 5 median of a 155-slice scan, and what else is done to anomaly maps: semcycle beside SciPy and SimpleITK.

    python benchmarks/postprocess.py                      # a phantom head of 155 x 240 x 240 voxels
    python benchmarks/postprocess.py --scan scan_t2.nii.gz  # a skull-stripped scan: its intensity is the map

Times are the best of a few repetitions, in one process; peers filter the brain's bounding box, as semcycle does. The
median is exact: the benchmark stops where the three disagree inside the brain. `dense` is a map with a score at every
voxel of the brain,
`residual` one that is 0 at 60 % of them, as positive residuals above a prior are.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from semcycle.prediction.filters import erode, flatten_small, median, smooth
from semcycle.volume import load_volume, to_ras
from semcycle.volume.masks import bounding_box

SHAPE = (155, 240, 240)
SIZES = (5, 5, 5)


def phantom() -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Smooth noise in an ellipsoid that fills 17 % of the grid, as a brain does."""
    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij", sparse=True)
    brain = sum((axis / half) ** 2 for axis, half in zip(axes, (0.9, 0.69, 0.52), strict=True)) < 1
    noise = np.random.default_rng(0).random(SHAPE, np.float32)
    return np.where(brain, ndimage.gaussian_filter(noise, 0.7), np.float32(0)), brain


def scan_map(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A scan's intensity over its maximum, and where it is not 0."""
    volume = load_volume(path)
    data = np.ascontiguousarray(to_ras(volume.data, volume.affine).transpose(2, 1, 0))
    return np.maximum(data, 0) / data.max(), data > 0


def scipy_median(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    return ndimage.median_filter(scores, size=SIZES, mode="constant")


def itk_median(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    image = sitk.Median(sitk.GetImageFromArray(np.pad(scores, 2)), [2, 2, 2])
    return sitk.GetArrayFromImage(image)[2:-2, 2:-2, 2:-2]


def timed(function: Callable[[], Any], repeat: int) -> tuple[Any, float]:
    best, made = np.inf, None
    for _ in range(repeat):
        start = time.perf_counter()
        made = function()
        best = min(best, time.perf_counter() - start)
    return made, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--no-scipy", action="store_true", help="leave out the slow one")
    options = parser.parse_args()
    scores, brain = scan_map(options.scan) if options.scan else phantom()
    box = bounding_box(brain)
    level = np.quantile(scores[brain], 0.6)
    maps = {"dense": scores, "residual": np.where(scores > level, scores - level, np.float32(0))}
    print(f"{scores.shape}, brain {brain.sum()} voxels ({100 * brain.mean():.0f} %)")
    for name, values in maps.items():
        ours, seconds = timed(lambda values=values: median(values, brain, SIZES), options.repeat)
        print(f"median 5x5x5, {name:9} semcycle   {seconds:6.2f} s")
        peers = {"SimpleITK": itk_median} | ({} if options.no_scipy else {"SciPy": scipy_median})
        for peer, function in peers.items():
            theirs, other = timed(lambda f=function, values=values: f(values[box]), 1)
            if not np.array_equal(theirs[brain[box]], ours[box][brain[box]]):
                raise SystemExit(f"{peer} disagrees")
            print(f"median 5x5x5, {name:9} {peer:10} {other:6.2f} s, {other / seconds:.1f} times ours; equal")
    spacing = (1.0, 1.0, 1.0)
    steps: dict[str, Callable[[], Any]] = {
        "erode 22.5 mm": lambda: erode(brain, 22.5, (1.0, 1.0)),
        "Gaussian 1.5 mm": lambda: smooth(scores, brain, 1.5, spacing),
        "small components": lambda: flatten_small(maps["residual"], 0.0, 30.0, spacing),
    }
    for name, step in steps.items():
        print(f"{name:34} {timed(step, options.repeat)[1]:6.2f} s")


if __name__ == "__main__":
    main()
