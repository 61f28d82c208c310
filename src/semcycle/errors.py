"""Errors a user can mend: each says what was expected, what came, and what to do, and names the file.

The command line prints them as one line and exits with 2; in a batch the other cases are finished
first and the failed ones are listed in ``failures.csv`` (exit code 1).
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class SemcycleError(Exception):
    """Base of every error that is meant for the user and needs no traceback."""


class LayoutError(SemcycleError):
    """A folder does not look like the cohort it was said to be."""


class VolumeError(SemcycleError):
    """An image file cannot be read or its content is unusable (4-D, NaN, constant, truncated, ...)."""


class DicomError(SemcycleError):
    """A DICOM folder has no series, or several, that could be predicted, or one that cannot be converted."""


class EmptyMaskError(DicomError):
    """There is no lesion to write a DICOM SEG of."""


class GeometryError(SemcycleError):
    """Grids or affines do not fit together, or cannot be mapped to the working grid."""


class BrainMaskError(SemcycleError):
    """No plausible brain was found in a scan."""


class TissueError(SemcycleError):
    """Tissue maps are missing or unusable."""


class StoreError(SemcycleError):
    """A slice store is damaged, incomplete, or was made with other settings."""


class SplitError(SemcycleError):
    """A split is malformed, names unknown cases, or shares a subject between its parts."""


class RecipeError(SemcycleError):
    """A recipe has an unknown key, a wrong value, or names an unknown method."""


class SettingsError(SemcycleError):
    """A setting written as ``name=value`` is none, or its value is out of range."""


class CheckpointError(SemcycleError):
    """A run folder or its weights do not fit what they are asked for."""


class PredictionError(SemcycleError):
    """A prediction cannot be made, or has no such part."""


class WorkerError(SemcycleError):
    """A worker process was killed, and its job was not done."""


class ClusterError(SemcycleError):
    """No Dask cluster answers, or it is another installation."""


class ScoringError(SemcycleError):
    """Nothing can be scored as asked, e.g. no lesion in the test set."""


MAX_LINE = 1000
"""Letters of an error."""
_FOLDERS = re.compile(r"(?<![^\s'\"(=,])[^\s'\"():;,]*/(?:[^'\"():;,]*/)?")
"""The folders of a path within a text."""


@dataclass(frozen=True)
class Failure:
    """One case of a batch that could not be done.

    Attributes:
        case_id: The case's name, or the file's name where no case could be made of it.
        reason: One line that says what was wrong and what to do.
        files: What the case consists of. Their folders may name a patient, see :attr:`public_reason`.
    """

    case_id: str
    reason: str
    files: tuple[Path, ...] = field(default=(), repr=False, compare=False)

    @property
    def public_reason(self) -> str:
        """The reason without folders: files and pages are passed on, what the terminal shows is not."""
        text = self.reason
        folders = {str(folder) for file in self.files for folder in (file.parent, file.resolve().parent)}
        for folder in sorted(folders - {"."}, key=len, reverse=True):
            text = text.replace(f"{folder}/", "").replace(folder, "its folder")
        start, colon, rest = text.partition(": expected")  # messages begin with their file
        return _FOLDERS.sub("", (start.rpartition("/")[2] if colon else start) + colon + rest)


@contextmanager
def catch_failure(case_id: str, failures: list[Failure], files: Iterable[Path | None] = ()) -> Iterator[None]:
    """Keep one case's trouble from the others: whatever its block raises becomes a line of the list.

    Only what is not an ``Exception``, such as Ctrl-C, goes on.

    Args:
        case_id: The case's name.
        failures: The list.
        files: What the case consists of.
    """
    try:
        yield
    except Exception as error:  # also those of libraries: a batch is not ended by one odd file
        failures.append(Failure(case_id, explain(error), tuple(file for file in files if file)))


def error_line(error: Exception) -> str:
    """An exception's text in one line that any file and terminal takes; a file's name may be no UTF-8.

    Of a long text, such as one that quotes a damaged file, the middle is left out.
    """
    text = " ".join(str(error).encode(errors="backslashreplace").decode().split())
    if len(text) > MAX_LINE:
        text = f"{text[: MAX_LINE - 200]} ... {text[-195:]}"
    return "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text)


def shorten(value: object) -> str:
    """A value for a message: as Python writes it, at most 80 characters."""
    short = reprlib.Repr()
    short.maxstring, short.maxother, short.maxlevel = 80, 80, 2
    text = short.repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def explain(error: Exception) -> str:
    """An exception in one line: the message of an error that is meant for the user, the type and text of another."""
    text = error_line(error)
    if isinstance(error, MemoryError):
        return (
            f"expected enough memory, got too little ({text or 'no details'}); check the image's size, or free memory"
        )
    if isinstance(error, SemcycleError | OSError):
        return text
    return f"expected no {type(error).__name__}, got one ({text[:200]}); check the file, and report this if it is sound"
