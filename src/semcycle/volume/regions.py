"""Lobes and other parts of the brain in words, for places in the MNI152 template that are known to some millimetres.

A place has the region of the nearest of a few dozen points, whichever its side. The points were moved until they agreed
best with the lobe atlas that comes with the ICBM 152 templates [fonov2009] and, for the insula, with AAL
[tzouriomazoyer2002]; ``benchmarks/regions.py`` finds them again and measures how often they are right. No atlas is
shipped, and borders are as rough as that sounds: good for the first word about a lesion, not for a map.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

REGIONS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "frontal": (
        *((14, 24, -19), (21, 41, -4), (45, 35, -2), (5, 36, 11), (44, 6, 17), (32, 29, 19)),
        *((9, 23, 33), (3, -9, 35), (44, 3, 36), (27, -9, 51), (6, -20, 52)),
    ),
    "parietal": (
        (56, -21, 27),
        (5, -46, 30),
        (35, -34, 36),
        (43, -60, 37),
        (15, -62, 42),
        (54, -32, 47),
        (32, -48, 56),
    ),
    "temporal": (
        *((38, 4, -34), (57, -4, -18), (27, -13, -17), (51, -45, -14)),
        *((40, -57, -8), (27, -47, 4), (57, -30, 4), (46, -57, 6)),
    ),
    "occipital": ((18, -83, -1), (44, -80, 1), (42, -92, 18), (9, -91, 24)),
    "cerebellum": ((23, -51, -43), (37, -61, -36), (16, -72, -34), (6, -57, -25)),
    "brain stem": ((3, -29, -43), (4, -17, -12)),
    "deep grey matter or insula": (
        *((30, 9, -2), (29, 10, -1), (20, 11, 0), (29, -2, 1), (19, 0, 3), (9, -13, 6), (14, -8, 7)),
    ),
}
"""Region -> points: mm from the midline, anterior and superior of the template's origin."""
LEAST_SHARE = 0.25
"""Of a piece, in a region, from which on the region is named."""


def name_places(places: NDArray[np.floating]) -> NDArray[np.intp]:
    """Index into ``REGIONS`` of places ``(3, N)`` in mm of the template, right, anterior and superior positive."""
    tree, owner = _points()
    distances = tree.query(np.stack([np.abs(places[0]), places[1], places[2]], axis=-1))[1]
    return np.asarray(owner[distances])


def name_region(places: NDArray[np.floating]) -> str:
    """The regions that a piece lies in, the most of it first.

    Args:
        places: ``(3, N)`` of its voxels in mm of the template, N > 0.

    Returns:
        One name, or several with commas: each that a quarter of the piece or more lies in.
    """
    counts = np.bincount(name_places(places), minlength=len(REGIONS))
    order = np.argsort(-counts, kind="stable")
    names = list(REGIONS)
    return ", ".join(names[index] for index in order if counts[index] >= LEAST_SHARE * counts.sum()) or names[order[0]]


@lru_cache(maxsize=1)
def _points() -> tuple[cKDTree, NDArray[np.intp]]:
    """All points, and the index of the region of each."""
    owner = np.repeat(np.arange(len(REGIONS)), [len(points) for points in REGIONS.values()])
    return cKDTree(np.array([point for points in REGIONS.values() for point in points])), owner
