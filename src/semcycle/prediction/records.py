"""Records of a folder of predictions: a JSON a scan, joined into ``run.json`` and ``summary.csv``.

A scan's record is written when its files are there and touches no other scan's, so that a scan costs the same however
many are done, and several jobs may fill one folder. Folders of older versions have all entries in ``run.json`` alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from semcycle.files import read_json, write_bytes, write_json
from semcycle.spreadsheet import defuse_frame, read_words

RUN = "run.json"
SUMMARY = "summary.csv"
ENDING = "_record.json"
_COLUMNS = {
    "scan": "name",
    "lesion_ml": "lesion_ml",
    "components": "components",
    "largest_ml": "largest_ml",
    "mean_score": "mean_score",
    "p99_score": "p99_score",
    "brain_ml": "brain_ml",
    "threshold": "threshold",
    "flags": "flags",
    "seconds": "seconds",
}
"""Column of ``summary.csv`` -> key of a scan's record."""


def is_folder_of_predictions(folder: Path) -> bool:
    """Whether scans were predicted into a folder."""
    return any(folder.glob(f"*{ENDING}")) or "scans" in _read(folder / RUN)


def write_record(out: Path, run: Mapping[str, Any], scan: Mapping[str, Any]) -> None:
    """Write ``<name>_record.json``.

    Args:
        out: Folder of the predictions.
        run: Model, settings and versions: the head of ``run.json``.
        scan: What was found, and how; ``name`` and the ``files`` that belong to it. Without files it is unfinished.
    """
    write_json(out / f"{scan['name']}{ENDING}", {"run": run, "scan": scan})


def read_listed(out: Path) -> dict[str, Any]:
    """What ``run.json`` holds of each scan; in folders of older versions that is all there is."""
    scans = _read(out / RUN).get("scans")
    listed = scans if isinstance(scans, list) else []
    return {str(scan.get("name")): scan for scan in listed if isinstance(scan, dict)}


def has_record(out: Path, name: str) -> bool:
    """Whether a scan has a record of its own, finished or not."""
    return (out / f"{name}{ENDING}").is_file()


def read_record(out: Path, name: str, listed: Mapping[str, Any]) -> dict[str, Any] | None:
    """What is known of a scan whose files are all there; ``None`` for one that is not finished.

    Args:
        out: Folder of the predictions.
        name: The scan's.
        listed: Of :func:`read_listed`, for a scan without a record of its own; read once for all scans.
    """
    path = out / f"{name}{ENDING}"
    return _check_scan(out, _read(path).get("scan") if path.is_file() else listed.get(name))


def finished_names(out: Path) -> list[str]:
    """Names of the scans whose records name files that are all there."""
    listed = read_listed(out)
    names = {path.name.removesuffix(ENDING) for path in out.glob(f"*{ENDING}")} | listed.keys()
    return sorted(name for name in names if read_record(out, name, listed))


def join_records(out: Path) -> None:
    """Write ``run.json`` and ``summary.csv`` of all finished scans, sorted by name; the newest record says how."""
    paths: list[Path] | None = None
    while paths != (paths := sorted(out.glob(f"*{ENDING}"))):  # another job may have finished a scan meanwhile
        records = [(path.stat().st_mtime_ns, _read(path)) for path in paths]
        known = {path.name.removesuffix(ENDING) for path in paths}
        scans = [_check_scan(out, record.get("scan")) for _, record in records]
        scans += [_check_scan(out, scan) for name, scan in read_listed(out).items() if name not in known]
        finished = sorted((scan for scan in scans if scan), key=lambda scan: scan["name"])
        heads = [(time, record["run"]) for time, record in records if isinstance(record.get("run"), dict)]
        run = max(heads, key=lambda head: head[0])[1] if heads else _read(out / RUN)
        if run:
            write_json(out / RUN, {**run, "scans": finished})
            _write_summary(out / SUMMARY, finished)


def read_summary(out: Path) -> pd.DataFrame:
    """The table of a folder of predictions, a row a scan."""
    return read_words(out / SUMMARY, ("scan", "flags"))


def _write_summary(path: Path, scans: list[dict[str, Any]]) -> None:
    rows = [
        {
            column: "; ".join(value) if isinstance(value := scan.get(key), list) else value
            for column, key in _COLUMNS.items()
        }
        for scan in scans
    ]
    text = io.StringIO()
    defuse_frame(pd.DataFrame(rows, columns=list(_COLUMNS))).to_csv(text, index=False)
    write_bytes(path, text.getvalue().encode())


def _read(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        return read_json(path)
    except (OSError, ValueError, RecursionError):
        return {}


def _check_scan(out: Path, scan: Any) -> dict[str, Any] | None:
    """A scan's record, if it is one and all its files are there."""
    if not isinstance(scan, dict) or not isinstance(scan.get("name"), str):
        return None
    files = scan.get("files")
    if not isinstance(files, list) or not all(isinstance(file, str) and (out / file).is_file() for file in files):
        return None
    return scan
