"""A tiny ball of a brain for the examples that cohorts write: WM core, GM shell, CSF rim, and a bright lesion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from semcycle.volume import write_arrays

SHAPE, SPACING = (32, 36, 20), 6.0


def write_ball(image: Path, lesion: Path | None, *, seed: int = 0) -> None:
    """Write a skull-stripped T2-like scan of about 1.4 l at 6 mm, and its lesion mask.

    Args:
        image: Scan to write.
        lesion: Mask to write; ``None`` makes a healthy scan.
        seed: Of noise and size.
    """
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0)) / (0.85 + 0.05 * generator.random())
    t2 = np.select([radius < 0.55, radius < 0.88, radius < 1], [300, 400, 900], 0.0)
    centre = np.array([0.35, 0.1, 0.0])[:, None, None, None]
    mask = (((grid - centre) ** 2).sum(0) < 0.05) & (t2 > 0)
    if lesion is not None:
        t2[mask] = 800
    t2 = np.where(t2 > 0, np.clip(t2 + generator.normal(0, 15, SHAPE), 1, None), 0)
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -90
    write_arrays({image: t2.astype(np.int16)} | ({lesion: mask} if lesion else {}), affine)
