"""Claims: of several jobs that fill one folder, one does a scan."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from semcycle.files import read_json

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

HOURS = 6
"""A claim of another machine, whose processes cannot be seen from here, holds that long."""
_WRITING_S = 60
"""A claim that cannot be read may be one that is being written."""


@contextmanager
def claim_scan(out: Path, name: str) -> Iterator[bool]:
    """Claim a scan for the time of the block: ``.<name>.claim`` names this machine, process and time.

    A claim of a process that is dead, or that is older than ``HOURS``, is taken over.

    Args:
        out: Folder of the predictions; made when missing.
        name: The scan's.

    Yields:
        Whether the scan is this process's; if not, another is at it.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f".{name}.claim"
    is_ours = _create(path) or _take_over(path)
    try:
        yield is_ours
    finally:
        if is_ours:
            path.unlink(missing_ok=True)


@contextmanager
def lock_folder(out: Path) -> Iterator[None]:
    """For the time of the block no other job has this lock; the system frees it when a process dies."""
    out.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    folder = os.open(out, os.O_RDONLY)  # the folder itself: no file is left
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _create(path: Path) -> bool:
    try:
        with path.open("x") as claim:
            claim.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}))
    except FileExistsError:
        return False
    return True


def _take_over(path: Path) -> bool:
    """Replace a stale claim; under the lock, so that two jobs do not both replace it."""
    if not _is_stale(path):
        return False
    with lock_folder(path.parent):
        if not _is_stale(path):
            return False
        path.unlink(missing_ok=True)
        return _create(path)


def _is_stale(path: Path) -> bool:
    try:
        age = time.time() - path.stat().st_mtime
        claim = read_json(path)
        host, pid = str(claim["host"]), int(claim["pid"])
    except FileNotFoundError:
        return False  # its job has just finished the scan
    except (ValueError, TypeError, KeyError):
        return age > _WRITING_S  # just being written, or left half by a killed process
    return age > HOURS * 3600 or (host == socket.gethostname() and not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
