"""Policies: over which voxels, and how, the cases of a data set become one number. They differ by up to four times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THIRDS = ("small", "medium", "large")
LEAST_LESIONS = 3
"""Lesion-bearing cases without which thirds of them say nothing."""


POOLED = "pooled"
LESION_SLICES = "lesion_slices"


@dataclass(frozen=True)
class Policy:
    """A way to pool.

    Attributes:
        label: A metric's label under it, with the metric's at ``{}``.
        meaning: One sentence.
    """

    label: str
    meaning: str


POLICIES = {
    POOLED: Policy("{}", "Over the voxels of all cases together, so that a large lesion counts more."),
    "per_case_mean": Policy("mean {}", "Computed for each case that has a lesion, then averaged."),
    "per_case_median": Policy("median {}", "Computed for each case that has a lesion, then the median."),
    **{
        f"per_case_mean_{third}": Policy(
            f"mean {{}}, {third} lesions",
            f"As the mean over cases, for the third of the lesion-bearing cases with {third} lesion volumes only.",
        )
        for third in THIRDS
    },
    LESION_SLICES: Policy(
        "{} in lesion-bearing slices",
        "Over the voxels of the slices that show lesion together; flattering, as nobody knows these slices beforehand.",
    ),
}
"""Name -> policy: the values of the column ``pooling``."""
PER_CASE = tuple(name for name in POLICIES if name not in (POOLED, LESION_SLICES))
"""Those that need a value of every case."""


def lesion_thirds(lesion_ml: Sequence[float], bearing: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """The lesion-bearing cases in three groups of equal size, by lesion volume.

    Args:
        lesion_ml: One a case.
        bearing: ``(C,)`` cases with a lesion in what is scored.

    Returns:
        ``small``, ``medium``, ``large`` -> ``(C,)`` bool; nothing with fewer than three lesion-bearing cases.
    """
    cases = np.flatnonzero(bearing)
    if len(cases) < LEAST_LESIONS:
        return {}
    order = cases[np.argsort(np.asarray(lesion_ml)[cases], kind="stable")]
    groups = np.array_split(order, len(THIRDS))
    return {name: np.isin(np.arange(len(bearing)), group) for name, group in zip(THIRDS, groups, strict=True)}
