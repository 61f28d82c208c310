"""Folder layouts. To add one: a file in this folder and a line in ``COHORTS``."""

import difflib

from semcycle.cohorts.base import Case, Cohort, Listing
from semcycle.cohorts.brats import Brats
from semcycle.cohorts.manifest import Manifest
from semcycle.cohorts.phantom import Phantom
from semcycle.errors import LayoutError

COHORTS: dict[str, Cohort] = {
    "brats": Brats(),
    "manifest": Manifest(),
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
