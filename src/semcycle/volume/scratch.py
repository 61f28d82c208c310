"""Scratch folders: temporary copies of scans, which no killed run may leave behind for good."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_PREFIX = "semcycle-scratch-"
_LOCK = ".locked-while-in-use"
_DAY_S = 86_400


@contextmanager
def make_scratch(name: str) -> Iterator[Path]:
    """A folder in the system's place for temporary files, removed at the end of the block.

    It is locked for as long as this process lives: what a killed one left is removed when the next scratch folder of
    any name is made.

    Args:
        name: Part of its name, for those who look there.

    Raises:
        OSError: The disk is full, or there is no place for temporary files.
    """
    sweep_scratch()
    with (
        tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{name}-", ignore_cleanup_errors=True) as folder,
        (Path(folder) / _LOCK).open("wb") as lock,
    ):
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(folder)


def sweep_scratch() -> None:
    """Remove the scratch folders of processes that were killed; where files cannot be locked, those of a day ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if fcntl is None:
                if time.time() - (folder / _LOCK).stat().st_mtime > _DAY_S:
                    shutil.rmtree(folder)
                continue
            with (folder / _LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
