"""Cases with their maps, as `semcycle score` makes and `semcycle evaluate` reads them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from semcycle.scoring.metrics.metrics import ErrorSums
from semcycle.types import SliceArray, SliceMask, Spacing, TissueSlices

Use = Literal["test", "validation", "healthy"]
"""Of a case: it is scored, or it only sets thresholds."""
Key = tuple[str, str]
"""Run and preset."""


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """A case with its maps, as `semcycle score` makes and `semcycle evaluate` reads them.

    Attributes:
        case: Name.
        subject: Cases of one subject are resampled together.
        brain: ``(S, H, W)``.
        truth: ``(S, H, W)`` lesion.
        spacing: Voxel size in mm along these axes.
        lesion_ml: Lesion volume.
        maps: Run and preset -> scores ``(S, H, W)``. Outside the brain they are not looked at: lesions there are
            missed.
        use: Whether it is scored.
        source: Where it lies, in words, if it sets thresholds.
        errors: Run -> sums of the reconstruction error; empty for maps without.
        image: ``(S, H, W)`` in [0, 1], for pictures; ``None`` draws the brain grey.
        slice_index: Of the slices in the scan, from the foot.
        shown: Run -> reconstruction ``(S, H, W)`` and tissue ``(S, 3, H, W)`` to be shown, where it has them.
    """

    case: str
    subject: str
    brain: SliceMask
    truth: SliceMask
    spacing: Spacing
    lesion_ml: float
    maps: Mapping[Key, SliceArray]
    use: Use = "test"
    source: str = ""
    errors: Mapping[str, ErrorSums] = field(default_factory=dict)
    image: SliceArray | None = None
    slice_index: Sequence[int] = ()
    shown: Mapping[str, tuple[SliceArray | None, TissueSlices | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreJob:
    """A case that is still to be made or read.

    Attributes:
        case: Name.
        use: Whether it is scored.
        what: What ``make`` of a :class:`CaseSource` needs of it.
        files: It consists of them.
    """

    case: str
    use: Use
    what: Any
    files: Sequence[Path | None] = ()


@dataclass(frozen=True)
class CaseSource:
    """Where cases come from.

    Attributes:
        make: ``(shared, what)`` -> a case; whatever it raises is that case's failure. A function of a module, so that
            other processes can call it.
        shared: What all cases need.
        jobs: The cases in the order of the table; those to be scored first.
    """

    make: Callable[[Any, Any], ScoredCase]
    shared: Any
    jobs: Sequence[ScoreJob]
