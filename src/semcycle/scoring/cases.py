"""Cases with their maps, and where their voxels wait until the thresholds are known.

Maps of any range need a code that is fitted to all of them before they can be counted; and lesions, false alarms and
surface distances need them cut at thresholds that are known only when every case was counted. So every map is made or
read once. Its scores in brain and lesion wait in a temporary file, two bytes a voxel (four until their code is known),
and memory holds one case. The file has no name: it is gone when the process ends, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.codes import BINS, CodeFitter, ScoreCode
from semcycle.scoring.metrics.metrics import ErrorSums
from semcycle.types import SliceArray, SliceMask, Spacing, TissueSlices
from semcycle.volume.masks import bounding_box

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
        made: Run -> reconstruction ``(S, H, W)`` and tissue ``(S, 3, H, W)`` to be shown, where it has them.
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
    made: Mapping[str, tuple[SliceArray | None, TissueSlices | None]] = field(default_factory=dict)


class WaitingCases(AbstractContextManager["WaitingCases"]):
    """The cases of an evaluation on disk, in the box around brain and lesion; a context manager.

    Args:
        code: Of all scores; fitted to each run's and preset's scores in the brain without.
        folder: Where the file is made; the system's place for such without.
    """

    def __init__(self, code: ScoreCode | None = None, folder: Path | None = None) -> None:
        self._given = code
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._cases: list[tuple[ScoredCase, tuple[int, ...], int]] = []
        self._places: dict[tuple[Use, str, Key], int] = {}
        self._fitters: dict[Key, CodeFitter] = {}
        self._lowest: dict[Key, np.float32] = {}
        self._codes: dict[Key, ScoreCode] = {}
        self._coded: set[tuple[Use, str, Key]] = set()

    def __exit__(self, *error: object) -> None:
        """Delete the file."""
        self._file.close()

    def __iter__(self) -> Iterator[ScoredCase]:
        """The cases in the order in which they came, masks cut to the box, without maps and pictures."""
        for case, shape, start in self._cases:
            flags = self._read(start, np.uint8, int(np.prod(shape))).reshape(shape)
            yield replace(case, brain=flags & 1 > 0, truth=flags & 2 > 0)

    def keys(self, case: ScoredCase) -> list[Key]:
        """Of which runs and presets a case has maps."""
        return [key for use, name, key in self._places if (use, name) == (case.use, case.case)]

    def append(self, case: ScoredCase) -> None:
        """Write a case's masks and scores.

        Raises:
            ScoringError: A score has no code, or the disk is full.
        """
        box = bounding_box(case.brain | case.truth) or (slice(0), slice(0), slice(0))
        brain, truth = case.brain[box], case.truth[box]
        region = brain | truth
        inside = brain[region]
        start = self._write(brain + 2 * truth.astype(np.uint8))
        nothing = np.zeros(0, bool)
        facts = replace(case, brain=nothing, truth=nothing, maps={}, image=None, made={})
        self._cases.append((facts, brain.shape, start))
        for key, scores in case.maps.items():
            place, values = (case.use, case.case, key), scores[box][region]
            if self._given is not None:
                self._places[place] = self._write(self._given.encode(np.where(inside, values, 0)))
                self._coded.add(place)
                continue
            known = values[inside]
            self._fitters.setdefault(key, CodeFitter()).add(known)
            self._lowest[key] = min(self._lowest.get(key, np.float32(np.inf)), known.min(initial=np.inf))
            self._places[place] = self._write(np.where(inside, values, np.float32(np.nan)).astype(np.float32))

    def code(self, key: Key) -> ScoreCode:
        """Of a run and preset, once all cases are here."""
        if key not in self._codes:
            self._codes[key] = self._given or self._fitters[key].fit()
        return self._codes[key]

    def codes(self, case: ScoredCase, key: Key) -> NDArray[np.uint16]:
        """Codes of a map in brain and lesion ``(N,)``; lesions outside the brain have that of the lowest score."""
        place, size = (case.use, case.case, key), int(np.count_nonzero(case.brain | case.truth))
        if place in self._coded:
            return self._read(self._places[place], np.uint16, size)
        values = self._read(self._places[place], np.float32, size)
        codes = self.code(key).encode(np.where(np.isnan(values), self._lowest[key], values))
        self._write(codes, self._places[place])
        self._coded.add(place)
        return codes

    def cutter(self, case: ScoredCase, key: Key) -> Callable[[float], SliceMask]:
        """Cuts a map at thresholds: ``(S, H, W)``, true where the score is at least that; nothing at NaN."""
        region = case.brain | case.truth
        codes, code = np.zeros(region.shape, np.uint16), self.code(key)
        codes[region] = self.codes(case, key)

        def called(threshold: float) -> SliceMask:
            first = code.first_code(threshold) if threshold < np.inf else BINS
            return (codes >= first) & region

        return called

    def _read(self, start: int, kind: Any, size: int) -> NDArray[Any]:
        self._file.seek(start)
        return np.frombuffer(self._file.read(size * np.dtype(kind).itemsize), kind)

    def _write(self, array: NDArray[Any], start: int | None = None) -> int:
        """Put an array at a place, or at the end; returns where it begins."""
        try:
            place = self._file.seek(0, 2) if start is None else self._file.seek(start)
            self._file.write(array.tobytes())
            self._file.flush()
        except OSError as error:
            where = self._folder or tempfile.gettempdir()
            remedy = "free some" if self._folder else "set TMPDIR to a larger disk"
            msg = f"{where}: expected room for {array.nbytes / 1e6:.0f} MB more of scores, got {error}; {remedy}"
            raise ScoringError(msg) from error
        return place
