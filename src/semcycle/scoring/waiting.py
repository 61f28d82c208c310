"""Where the voxels of cases wait until the thresholds are known.

Maps of any range need a code that is fitted to all of them before they can be counted; and lesions, false alarms and
surface distances need them cut at thresholds that are known only when every case was counted. So every map is made or
read once, by any process. Its scores in brain and lesion wait in a file a case, four bytes a voxel, or two where the
code is known, and memory holds the cases that are being worked on.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.scoring.cases import Key, ScoredCase
from semcycle.scoring.metrics.codes import BINS, CodeFitter, ScoreCode
from semcycle.types import SliceMask
from semcycle.volume.masks import bounding_box


@dataclass(frozen=True)
class CodedRange:
    """What the scores of a run and preset are coded with.

    Attributes:
        code: Of all cases.
        lowest: Score in any brain, which lesions outside the brain get.
    """

    code: ScoreCode
    lowest: np.float32


@dataclass(frozen=True, eq=False)
class WaitingCase:
    """A case whose masks and scores are in files, in the box around brain and lesion.

    Attributes:
        facts: The case without arrays.
        path: Of its files without their endings.
        keys: Runs and presets, in the order of their scores.
        is_coded: Whether the code was known.
    """

    facts: ScoredCase
    path: Path
    keys: tuple[Key, ...]
    is_coded: bool

    def masks(self) -> tuple[SliceMask, SliceMask]:
        """Brain and lesion ``(S, H, W)``."""
        flags = np.load(_file(self.path, "masks"))
        return flags & 1 > 0, flags & 2 > 0

    def encode(self, ranges: Mapping[Key, CodedRange]) -> None:
        """Code the scores that wait for it."""
        if self.is_coded:
            return
        values = np.load(_file(self.path, "scores"))
        codes = np.empty(values.shape, np.uint16)
        for row, key in enumerate(self.keys):
            each = ranges[key]
            codes[row] = each.code.encode(np.where(np.isnan(values[row]), each.lowest, values[row]))
        _write(_file(self.path, "codes"), codes)

    def codes(self, key: Key) -> NDArray[np.uint16]:
        """Codes of a map in brain and lesion ``(N,)``; lesions outside the brain have that of the lowest score."""
        return np.array(np.load(_file(self.path, "codes"), mmap_mode="r")[self.keys.index(key)])

    def cutter(self, key: Key, code: ScoreCode, region: SliceMask) -> Callable[[float], SliceMask]:
        """Cuts a map at thresholds: ``(S, H, W)``, true where the score is at least that; nothing at NaN."""
        codes = np.zeros(region.shape, np.uint16)
        codes[region] = self.codes(key)

        def called(threshold: float) -> SliceMask:
            first = code.first_code(threshold) if threshold < np.inf else BINS
            return (codes >= first) & region

        return called


def store_case(case: ScoredCase, path: Path, code: ScoreCode | None) -> tuple[WaitingCase, dict[Key, CodeFitter]]:
    """Put a case into files.

    Args:
        case: With its arrays.
        path: Of its files, without their endings.
        code: Of all scores, if it is known.

    Returns:
        The case that waits, and what its scores in the brain add to the codes that are not known.

    Raises:
        ScoringError: A score has no code, or the disk is full.
    """
    box = bounding_box(case.brain | case.truth) or (slice(0), slice(0), slice(0))
    brain, truth = case.brain[box], case.truth[box]
    region = brain | truth
    inside = brain[region]
    nothing = np.zeros(0, bool)
    facts = replace(case, brain=nothing, truth=nothing, maps={}, image=None, shown={})
    waiting = WaitingCase(facts, path, tuple(case.maps), code is not None)
    _write(_file(path, "masks"), brain + 2 * truth.astype(np.uint8))
    fitters: dict[Key, CodeFitter] = {}
    kind = np.float32 if code is None else np.uint16
    rows: NDArray[Any] = np.empty((len(case.maps), len(inside)), kind)
    for row, (key, scores) in enumerate(case.maps.items()):
        values = scores[box][region]
        if code is None:
            fitters[key] = CodeFitter()
            fitters[key].add(values[inside])
            rows[row] = np.where(inside, values, np.float32(np.nan))
        else:
            rows[row] = code.encode(np.where(inside, values, 0))
    _write(_file(path, "scores" if code is None else "codes"), rows)
    return waiting, fitters


def _file(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}-{what}.npy")


def _write(path: Path, array: NDArray[Any]) -> None:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    try:
        path.write_bytes(content.getbuffer())  # numpy's own writing says nothing of a full disk
    except OSError as error:
        msg = (
            f"{path.parent.parent}: expected room for {array.nbytes / 1e6:.0f} MB more of scores, got "
            f"{error.strerror}; free some, or choose another --out"
        )
        raise ScoringError(msg) from error
