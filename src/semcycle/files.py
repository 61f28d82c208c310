"""Files that appear complete or not at all, and their hashes."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from semcycle.errors import Failure, LayoutError
from semcycle.spreadsheet import defuse_cell, restore_cell

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

VERSION = version("semcycle")
"""Of the installed package; written into stores, runs and predictions."""

MAX_JSON = 1 << 28
"""Bytes; the run.json of 10,000 scans has a tenth of that."""
_MAX_DEPTH = 64


_DAY_S = 86_400
_PART = re.compile(r"\..+\.(\d+-[0-9a-f]{8}|[0-9a-z_]{8})\.part")
"""Names of temporary files, of this version and of older ones."""
_swept: set[Path] = set()
"""Folders that this process has looked through."""
NO_ROOM = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Errors of a full disk, a used-up quota, and a limit on a file's size."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, see :func:`write_chunks`."""
    write_chunks(path, (content,))


def write_chunks(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file atomically: temporary file beside it, fsync, rename.

    The first write into a folder removes what killed processes left there. A temporary file is locked by its writer,
    so that those of a living one, on this machine or another that shares the folder, are not taken for left ones.

    Args:
        path: Where the file shall stand; its folder is made.
        chunks: Its content, part by part; may be made while it is written.

    Raises:
        OSError: The disk is full or the folder is not writable; the file is named, and an older one left as it was.
    """
    name = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent not in _swept:
            _swept.add(path.parent)
            sweep(path.parent)
        with _open_locked(name) as part:
            for chunk in chunks:
                part.write(chunk)
            part.flush()
            os.fsync(part.fileno())
            if fcntl:
                name.replace(path)  # still locked
        if not fcntl:
            name.replace(path)
    except BaseException as error:
        name.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # a failed write names no file, others the temporary one
        raise


def sweep(folder: Path) -> None:
    """Remove the temporary files of processes that were killed; where files cannot be locked, those of a day ago."""
    _sweep(part for part in folder.glob(".*.part") if _PART.fullmatch(part.name))


def _sweep(parts: Iterable[Path]) -> None:
    for part in parts:
        with suppress(OSError):
            if fcntl is None and time.time() - part.stat().st_mtime < _DAY_S:
                continue
            with _locked(part, fcntl.LOCK_NB if fcntl else 0):
                shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)


@contextmanager
def open_scratch(name: str, folder: Path | None = None) -> Iterator[Path]:
    """A temporary folder, removed at the end of the block.

    It is locked for as long as this process lives: what a killed one left is removed when the next of its name is made.

    Args:
        name: What it is for; begins the folder's name, after a dot.
        folder: Where; made when missing. Without, the system's place for temporary files.

    Raises:
        OSError: The disk is full, or there is no place for temporary files.
    """
    folder = Path(tempfile.gettempdir()) if folder is None else folder
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(part for part in folder.glob(f".{name}.*.part") if _PART.fullmatch(part.name))
    with ExitStack() as stack:
        while True:
            scratch = folder / f".{name}.{os.getpid()}-{secrets.token_hex(4)}.part"
            scratch.mkdir(mode=0o700)
            with suppress(FileNotFoundError):  # another process may sweep it away before it is locked
                stack.enter_context(_locked(scratch))
                scratch.stat()
                break
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def is_empty(folder: Path) -> bool:
    """Whether a folder is missing or holds nothing but temporary files, once those of killed processes are gone."""
    if not folder.is_dir():
        return not folder.exists()
    sweep(folder)
    return all(_PART.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def _locked(path: Path, flags: int = 0) -> Iterator[None]:
    """A file or folder, locked for the time of the block."""
    descriptor = os.open(path, os.O_RDONLY) if fcntl else None
    try:
        if descriptor is not None:
            with nullcontext() if flags else suppress(OSError):  # a file system without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_locked(name: Path) -> BinaryIO:
    """Make a temporary file, with the permissions that the user's umask leaves, and lock it."""
    while True:
        part = name.open("xb")
        try:
            if fcntl is None:
                return part
            with suppress(OSError):  # a file system without locks
                fcntl.flock(part, fcntl.LOCK_EX)
            if os.fstat(part.fileno()).st_nlink:
                return part
        except BaseException:
            part.close()
            raise
        part.close()  # another process swept it away before it was locked


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented, keys in the given order."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: The file holds no JSON object, or one that is too large, too deep, or has infinite numbers.
    """
    if path.stat().st_size > MAX_JSON:
        msg = f"{path}: expected at most {MAX_JSON:,} bytes of JSON, got {path.stat().st_size:,}"
        raise ValueError(msg)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_number, parse_float=_number)
    except RecursionError as error:
        msg = f"{path}: expected JSON, got brackets within brackets without end"
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path}: expected a JSON object, got {type(content).__name__}"
        raise ValueError(msg)
    _check_depth(content)
    return content


def _number(text: str) -> float:
    """A number of a JSON file, which holds neither NaN nor anything too large."""
    value = float(text)
    if not math.isfinite(value):
        msg = f"expected finite numbers, got {text[:40]}"
        raise ValueError(msg)
    return value


def _check_depth(content: Any) -> None:
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    msg = f"expected JSON of at most {_MAX_DEPTH} levels, got more"
    raise ValueError(msg)


def write_failures(path: Path, failures: list[Failure]) -> None:
    """Write ``failures.csv`` (case, reason without folders), or remove an old one when nothing failed."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "reason"])
    writer.writerows([defuse_cell(failure.case_id), defuse_cell(failure.public_reason)] for failure in failures)
    write_bytes(path, text.getvalue().encode())


def read_failures(path: Path) -> list[Failure]:
    """Read what :func:`write_failures` wrote; nothing failed where there is no file.

    Raises:
        LayoutError: The file is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream, strict=True)
            return [Failure(restore_cell(row["case"]), restore_cell(row["reason"])) for row in rows]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        msg = f"{path}: expected the columns case and reason, got a damaged file ({error}); run the command again"
        raise LayoutError(msg) from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def object_hash(content: Any) -> str:
    """SHA-256 of a JSON-able object, independent of key order, as hex."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def walk_files(root: Path) -> Iterator[Path]:
    """Files below a folder, links to nothing too; each folder once, links to folders last, hidden ones not at all.

    Args:
        root: The folder.

    Yields:
        Files by folder; of a folder below it that cannot be read the folder itself.
    """
    folders, links, seen = deque([root]), deque[Path](), set[Path]()
    while folders or links:
        folder = folders.popleft() if folders else links.popleft()
        if folder.resolve() in seen:
            continue
        seen.add(folder.resolve())
        try:
            entries = sorted(folder.iterdir())
        except OSError:
            if folder != root:
                yield folder
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            else:
                yield entry
