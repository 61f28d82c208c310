"""Claims: of several jobs that fill one folder, one does a scan.

A claim is a file ``.<name>.claim`` that its process holds locked: the system ends the lock with the process, also with
a killed one. It names machine and time, since not every shared file system has locks between machines.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

HOURS = 6
"""A claim of another machine, whose processes cannot be seen from here, holds that long."""

_SWEEP_S = 0.02


@contextmanager
def claim_scan(out: Path, name: str) -> Iterator[bool]:
    """Claim a scan for the time of the block.

    A claim of a process that is dead, or of another machine and older than ``HOURS``, is taken over. Where there are no
    locks, any claim holds that long.

    Args:
        out: Folder of the predictions; made when missing.
        name: The scan's.

    Yields:
        Whether the scan is this process's; if not, another is at it.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f".{name}.claim"
    claim = _open_claim(path)
    if claim is None:
        time.sleep(_SWEEP_S)  # what held it may have been a sweep
        claim = _open_claim(path)
    if claim is None:
        yield False
        return
    with claim:
        try:
            claim.truncate(0)
            claim.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "time": time.time()}).encode())
            claim.flush()
            yield True
        finally:
            path.unlink(missing_ok=True)


def sweep_claims(out: Path) -> None:
    """Remove the claims that no living process holds, such as one whose process was killed after its scan."""
    for path in out.glob(".*.claim"):
        claim = _open_claim(path)
        if claim is not None:
            with claim:
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


def _open_claim(path: Path) -> BinaryIO | None:
    """A claim's file, open and locked; ``None`` where it is another's."""
    while True:
        claim = path.open("ab")
        locked = _lock(claim)
        if locked is False or _is_anothers(path, whose_is_known=locked is True):
            claim.close()
            return None
        if os.fstat(claim.fileno()).st_nlink:
            return claim
        claim.close()  # its owner finished, and removed it, between opening and locking


def _lock(claim: BinaryIO) -> bool | None:
    """Whether the lock is ours; ``None`` where system or file system have no locks, and what the claim says decides."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_anothers(path: Path, *, whose_is_known: bool) -> bool:
    """Whether a young claim is of another machine, or, where no lock tells this machine's processes, of anybody."""
    try:
        age, content = time.time() - path.stat().st_mtime, path.read_text(encoding="utf-8")
        host = str(json.loads(content)["host"]) if content else ""
    except (OSError, ValueError, TypeError, KeyError):
        return False  # gone, or left half by a killed process
    return bool(host) and age < HOURS * 3600 and (host != socket.gethostname() or not whose_is_known)
