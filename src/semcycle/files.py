"""Files that appear complete or not at all, and their hashes."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import secrets
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from semcycle.errors import Failure, LayoutError
from semcycle.spreadsheet import defuse_cell, restore_cell

VERSION = version("semcycle")
"""Of the installed package; written into stores, runs and predictions."""

MAX_JSON = 1 << 28
"""Bytes; the run.json of 10,000 scans has a tenth of that."""
_MAX_DEPTH = 64


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary file beside it, fsync, rename.

    Args:
        path: Where the file shall stand; its folder is made.
        content: All of it.

    Raises:
        OSError: The disk is full or the folder is not writable; an older file is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with name.open("xb") as part:  # with the permissions that the user's umask leaves
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
        name.replace(path)
    except BaseException:
        name.unlink(missing_ok=True)
        raise


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
