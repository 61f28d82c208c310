"""DataSet: cases of a store under a name for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from semcycle.preprocess.intensity import MEDIAN_LEVEL
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.store.slice_store import SliceStore

_BRATS_YEAR = re.compile(r"brats(?:20)?(\d\d)_", re.IGNORECASE)
_SCOPES = {"brain": "the brain's", "volume": "the whole scan's, background included,", "slice": "each slice's"}


@dataclass(frozen=True)
class DataSet:
    """What is trained on, or tested on.

    Attributes:
        name: For files and folders.
        title: For people.
        store: Its slices.
        cases: Of the store.
        beside: The paper's test set whose numbers stand beside its scores; empty where there is none to compare with.
    """

    name: str
    title: str
    store: SliceStore
    cases: Sequence[str]
    beside: str = ""

    def describe(self) -> str:
        """Numbers of cases, subjects and slices."""
        subjects = {self.store.subject(case) for case in self.cases}
        slices = sum(self.store.summary(case)["slices"] for case in self.cases)
        return f"{len(self.cases)} cases of {len(subjects)} subjects, {slices} slices"

    def describe_tissue(self) -> str:
        """Provider of the tissue maps and its settings."""
        return _flatten(self.store.settings["tissue"])


def set_title(store: SliceStore, cases: Sequence[str]) -> str:
    """The cohort of a store, of BraTS with the year that its cases' names tell: ``BraTS 2018``."""
    cohort = str(store.settings["cohort"])
    if cohort != "brats":
        return {"isles2015": "ISLES 2015"}.get(cohort, cohort)
    years = {match and match[1] for match in map(_BRATS_YEAR.match, cases)}
    year = years.pop() if len(years) == 1 else None
    return f"BraTS 20{year}" if year else "BraTS"


def describe_scale(settings: PreprocessSettings) -> str:
    """What fixes the intensity scale, in words."""
    scope = _SCOPES.get(settings.intensity_scope, settings.intensity_scope)
    if settings.intensity == "median":
        return f"median: {scope} median becomes {MEDIAN_LEVEL:g}"
    return f"percentile: {scope} {settings.percentile:g}th percentile becomes 1"


def _flatten(content: object) -> str:
    """``{"provider": "atlas", "mode": "full"}`` -> ``atlas, mode full``."""
    if not isinstance(content, dict):
        return str(content)
    words = [_flatten(value) if key == "provider" else f"{key} {_flatten(value)}" for key, value in content.items()]
    return ", ".join(words)
