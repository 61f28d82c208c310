"""What a cohort is: a folder layout that is turned into cases, without touching a pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from semcycle.errors import Failure


@dataclass(frozen=True)
class Case:
    """One scan session of one subject: where its files are, nothing more.

    Attributes:
        case_id: Unique in the cohort; names every file made of the case.
        subject: Splits never separate the cases of one subject.
        images: Modality (``"t2"``, ``"t1"``, ...) -> file.
        lesion: Expert mask on the grid of the images, any non-zero label is lesion; ``None`` means the
            case is declared free of lesions.
        brain_mask: Brain mask on the grid of the images; ``None`` where the scan is skull-stripped.
        tissue: ``"gm"``, ``"wm"``, ``"csf"`` -> probability map on the grid of the images; may be empty.
        group: Stratum for splits, e.g. the grade or the site.
    """

    case_id: str
    subject: str
    images: Mapping[str, Path]
    lesion: Path | None = None
    brain_mask: Path | None = None
    tissue: Mapping[str, Path] = field(default_factory=dict)
    group: str = ""


def files_of_case(case: Case) -> tuple[Path, ...]:
    """Every file that a case names."""
    masks = [file for file in (case.lesion, case.brain_mask) if file]
    return (*case.images.values(), *masks, *case.tissue.values())


@dataclass(frozen=True)
class Listing:
    """What was found in a cohort's folder.

    Attributes:
        cases: Sorted by ``case_id``.
        failures: Folders or rows that are no usable case, with the reason.
    """

    cases: list[Case]
    failures: list[Failure] = field(default_factory=list)

    @classmethod
    def sort(cls, outcomes: Iterable[Case | Failure]) -> Listing:
        """Cases and failures apart, each by name."""
        outcomes = sorted(outcomes, key=lambda outcome: outcome.case_id)
        cases = [outcome for outcome in outcomes if isinstance(outcome, Case)]
        return cls(cases, [outcome for outcome in outcomes if isinstance(outcome, Failure)])


class Cohort(Protocol):
    """A folder layout. One file a layout and one line in ``COHORTS``."""

    @property
    def title(self) -> str:
        """One line for ``semcycle info``."""
        ...

    @property
    def slices(self) -> tuple[int, int] | None:
        """Window of axial slice indices ``[first, last)`` from the foot in which the literature works, or all."""
        ...

    def find_cases(self, root: Path) -> Listing:
        """List the cases below ``root``.

        Raises:
            LayoutError: ``root`` does not exist or holds nothing of this layout.
        """
        ...

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write a tiny tree in this layout (a few small generated scans), for tests and docs."""
        ...
