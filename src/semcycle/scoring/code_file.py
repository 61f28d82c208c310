"""CodeFile: score codes of all cases on disk, for a second look once the thresholds are known.

Lesions, false alarms and surface distances need the map at a threshold, and the best threshold is known only when every case
was counted. Two bytes a voxel of the region wait in a temporary file, so that nothing is reconstructed twice and memory holds
one case.
"""

from __future__ import annotations

import tempfile
from collections.abc import Hashable
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.codes import UNIT, ScoreCode


class CodeFile:
    """Codes by key, appended once and read as often as wanted; a context manager that leaves nothing behind.

    Args:
        code: Of the scores.
    """

    def __init__(self, code: ScoreCode = UNIT) -> None:
        self.code = code
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by __exit__
        self._places: dict[Hashable, tuple[int, int]] = {}

    def __enter__(self) -> CodeFile:
        """Nothing to open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the file."""
        self._file.close()

    def append(self, key: Hashable, scores: NDArray[np.floating], region: NDArray[np.bool_]) -> None:
        """Keep the codes of a map within a region.

        Args:
            key: Of the map, new.
            scores: Any shape.
            region: Same shape.

        Raises:
            ScoringError: A score has no code, or the disk is full.
        """
        codes = self.code.encode(scores[region])
        try:
            start = self._file.seek(0, 2)
            self._file.write(codes.tobytes())
        except OSError as error:
            msg = f"expected {codes.nbytes / 1e6:.0f} MB for score codes in {tempfile.gettempdir()}, got {error}; set TMPDIR to a larger disk"
            raise ScoringError(msg) from error
        self._places[key] = start, codes.size

    def called(self, key: Hashable, region: NDArray[np.bool_], threshold: float) -> NDArray[np.bool_]:
        """The map at a threshold, of the region's shape: true where the score is at least that, false outside the region."""
        start, size = self._places[key]
        self._file.seek(start)
        codes = np.frombuffer(self._file.read(2 * size), np.uint16)
        found = np.zeros(region.shape, bool)
        if np.isfinite(threshold) or threshold < 0:
            found[region] = codes >= self.code.first_code(threshold)
        return found
