"""Folder layouts. To add one: a file in this folder and a line in ``COHORTS``."""

from __future__ import annotations

import difflib

from semcycle.cohorts.base import Case, Cohort, Listing
from semcycle.cohorts.bids import Bids
from semcycle.cohorts.brats import Brats
from semcycle.cohorts.isles2015 import Isles2015
from semcycle.cohorts.ixi import Ixi
from semcycle.cohorts.manifest import Manifest
from semcycle.cohorts.mslub import Mslub
from semcycle.cohorts.simulated.brainweb import BrainWeb
from semcycle.cohorts.simulated.phantom import Phantom
from semcycle.errors import LayoutError

COHORTS: dict[str, Cohort] = {
    "bids": Bids(),
    "brainweb": BrainWeb(),
    "brats": Brats(),
    "isles2015": Isles2015(),
    "ixi": Ixi(),
    "manifest": Manifest(),
    "mslub": Mslub(),
    "phantom": Phantom(),
}
"""Name -> layout."""


def get_cohort(name: str) -> Cohort:
    """The layout of this name.

    Raises:
        LayoutError: There is none; the known ones and the nearest are named.
    """
    if name not in COHORTS:
        close = difflib.get_close_matches(name, COHORTS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        msg = f"expected a cohort of {', '.join(COHORTS)}, got {name!r}{hint}"
        raise LayoutError(msg)
    return COHORTS[name]


__all__ = ["COHORTS", "Case", "Cohort", "Listing", "get_cohort"]
