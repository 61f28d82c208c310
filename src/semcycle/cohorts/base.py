"""What a cohort is: a folder layout that is turned into cases, without touching a pixel."""

from __future__ import annotations

import gzip
import zlib
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


def is_listed(path: Path) -> bool:
    """Whether a folder holds a file of that name, be it a link to a file that was not fetched: reading it fails."""
    return path.is_file() or path.is_symlink()


def _check_twins(case: Case) -> Case | Failure:
    """The case, unless one of its files stands there with and without ``.gz``, and the two differ."""
    for file in files_of_case(case):
        packed = file if file.name.endswith(".gz") else file.with_name(f"{file.name}.gz")
        plain = packed.with_suffix("")
        if not (packed.is_file() and plain.is_file()):
            continue
        try:
            same = gzip.decompress(packed.read_bytes()) == plain.read_bytes()
        except (OSError, EOFError, zlib.error):
            same = False
        if not same:
            reason = f"{packed}: expected one image, got another as {plain.name}; remove one"
            return Failure(case.case_id, reason, files_of_case(case))
    return case


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
        """Cases and failures apart, each by name; a case whose files have twins of other content is a failure."""
        outcomes = [_check_twins(outcome) if isinstance(outcome, Case) else outcome for outcome in outcomes]
        outcomes.sort(key=lambda outcome: outcome.case_id)
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
