"""Cases with their maps, and where their voxels wait until the thresholds are known.

Maps of any range need a code that is fitted to all of them before they can be counted; and lesions, false alarms and
surface distances need them cut at thresholds that are known only when every case was counted. So every map is made or
read once. Its scores in brain and lesion wait in a temporary file, two bytes a voxel (four until their code is known),
and memory holds one case. The file has no name: it is gone when the process ends, however that ends.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.masks import bounding_box
from semcycle.scoring.metrics.codes import CodeFitter, ScoreCode
from semcycle.scoring.metrics.metrics import ErrorSums
from semcycle.types import SliceArray, SliceMask, Spacing, TissueSlices

Use = Literal["test", "validation", "healthy"]
"""Of a case: it is scored, or it only sets thresholds."""
Key = tuple[str, str]
"""Run and preset."""


@dataclass(frozen=True)
class CaseFacts:
    """What is known of a case without its voxels.

    Attributes:
        case: Name.
        subject: Cases of one subject are resampled together.
        spacing: Voxel size in mm along ``(S, H, W)``.
        lesion_ml: Lesion volume.
        use: Whether it is scored.
        source: Where it lies, in words, if it sets thresholds.
        errors: Run -> sums of the reconstruction error; empty for maps without.
    """

    case: str
    subject: str
    spacing: Spacing
    lesion_ml: float
    use: Use = "test"
    source: str = ""
    errors: Mapping[str, ErrorSums] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class ScoredCase:
    """A case with its maps, as `semcycle score` makes and `semcycle evaluate` reads them.

    Attributes:
        facts: What is known of it.
        brain: ``(S, H, W)``.
        truth: ``(S, H, W)`` lesion.
        maps: Run and preset -> scores ``(S, H, W)``. What lies outside the brain is not looked at: lesions there are
            missed.
        image: ``(S, H, W)`` in [0, 1], for pictures; ``None`` draws the brain grey.
        slice_index: Of the slices in the scan, from the foot.
        made: Run -> reconstruction ``(S, H, W)`` and tissue ``(S, 3, H, W)`` to be shown, where it has them.
    """

    facts: CaseFacts
    brain: SliceMask
    truth: SliceMask
    maps: Mapping[Key, SliceArray]
    image: SliceArray | None = None
    slice_index: Sequence[int] = ()
    made: Mapping[str, tuple[SliceArray | None, TissueSlices | None]] = field(default_factory=dict)


class WaitingCases:
    """The cases of an evaluation on disk, in the box around brain and lesion; a context manager.

    Args:
        code: Of all scores; fitted to each run's and preset's scores in the brain without.
        folder: Where the file is made; the system's place for such without.
    """

    def __init__(self, code: ScoreCode | None = None, folder: Path | None = None) -> None:
        self._given = code
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by __exit__
        self._cases: list[tuple[CaseFacts, tuple[int, ...], int, dict[Key, int]]] = []
        self._fitters: dict[Key, CodeFitter] = {}
        self._lowest: dict[Key, np.float32] = {}
        self._codes: dict[Key, ScoreCode] = {}
        self._coded: set[tuple[Key, int]] = set()

    def __enter__(self) -> WaitingCases:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the file."""
        self._file.close()

    def __iter__(self) -> Iterator[WaitingCase]:
        """The cases in the order in which they came."""
        for facts, shape, start, places in self._cases:
            flags = self._read(start, np.uint8, int(np.prod(shape))).reshape(shape)
            yield WaitingCase(facts, flags & 1 > 0, flags & 2 > 0, places, self)

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
        places = {}
        for key, scores in case.maps.items():
            values = scores[box][region]
            if self._given is not None:
                places[key] = self._write(self._given.encode(np.where(inside, values, 0)))
                self._coded.add((key, places[key]))
                continue
            known = values[inside]
            self._fitters.setdefault(key, CodeFitter()).add(known)
            self._lowest[key] = min(self._lowest.get(key, np.float32(np.inf)), known.min(initial=np.inf))
            places[key] = self._write(np.where(inside, values, np.float32(np.nan)).astype(np.float32))
        self._cases.append((case.facts, brain.shape, start, places))

    def code(self, key: Key) -> ScoreCode:
        """Of a run and preset, once all cases are here."""
        if key not in self._codes:
            self._codes[key] = self._given or self._fitters[key].fit()
        return self._codes[key]

    def codes(self, key: Key, place: int, size: int) -> NDArray[np.uint16]:
        """Codes ``(N,)`` of a map; lesions outside the brain have that of the lowest score in any brain."""
        if (key, place) in self._coded:
            return self._read(place, np.uint16, size)
        values = self._read(place, np.float32, size)
        codes = self.code(key).encode(np.where(np.isnan(values), self._lowest[key], values))
        self._write(codes, place)
        self._coded.add((key, place))
        return codes

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


@dataclass(frozen=True, eq=False)
class WaitingCase:
    """A case read back.

    Attributes:
        facts: What is known of it.
        brain: ``(S, H, W)`` within the box.
        truth: Same shape.
        places: Run and preset -> where its codes are.
        cases: All.
    """

    facts: CaseFacts
    brain: SliceMask
    truth: SliceMask
    places: Mapping[Key, int]
    cases: WaitingCases

    def codes(self, key: Key) -> NDArray[np.uint16]:
        """Codes of a map in brain and lesion ``(N,)``."""
        region = self.brain | self.truth
        return self.cases.codes(key, self.places[key], int(np.count_nonzero(region)))

    def coded_map(self, key: Key) -> CodedMap:
        """A map that can be cut at thresholds."""
        region = self.brain | self.truth
        codes = np.zeros(region.shape, np.uint16)
        codes[region] = self.codes(key)
        return CodedMap(codes, region, self.cases.code(key))


@dataclass(frozen=True, eq=False)
class CodedMap:
    """A map to be cut at thresholds.

    Attributes:
        codes: ``(S, H, W)``.
        region: ``(S, H, W)`` brain and lesion.
        code: Of the codes.
    """

    codes: NDArray[np.uint16]
    region: SliceMask
    code: ScoreCode

    def called(self, threshold: float) -> SliceMask:
        """``(S, H, W)``: true where the score is at least that; nothing at a threshold of infinity or NaN."""
        if not threshold < np.inf:
            return np.zeros_like(self.region)
        called = self.codes >= self.code.first_code(threshold)
        return called & self.region
