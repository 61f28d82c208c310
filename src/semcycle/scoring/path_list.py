"""A CSV of paths: which map belongs to which truth, said row by row.

A row a case and method; paths are relative to the CSV, or absolute::

    case,method,prediction,truth,brain,image,subject,use
    a01,ours,maps/a01.nii.gz,truth/a01.nii.gz,brain/a01.nii.gz,scans/a01_t2.nii.gz,alice,test
    a01,theirs,other/a01.nii.gz,truth/a01.nii.gz,brain/a01.nii.gz,scans/a01_t2.nii.gz,alice,test

``case``, ``prediction`` and ``truth`` are needed, ``brain`` too unless the whole grid counts. ``subject`` is the case,
``method`` is ``map`` and ``use`` is ``test`` where they are not given. Rows used for ``validation`` or ``healthy`` only
set thresholds.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

from semcycle.errors import Failure, ScoringError
from semcycle.scoring.cases import Use
from semcycle.scoring.pairing import MapCase, Pairing

_COLUMNS = ("case", "prediction", "truth", "brain", "image", "subject", "method", "use")
USES = ("test", "validation", "healthy")


def read_list(path: Path, *, whole_grid: bool = False) -> Pairing:
    """Read a CSV of paths, see the module's example.

    Args:
        path: The CSV.
        whole_grid: There are no brain masks.

    Raises:
        ScoringError: It cannot be read, a column is unknown or missing, or rows of one case contradict each other.
    """
    rows: dict[str, dict[str, dict[str, str]]] = {}
    methods: dict[str, None] = {}
    for line, row in _read_rows(path, whole_grid):
        method = row["method"] or "map"
        if not row["case"] or not row["truth"]:
            msg = f"{path}: row {line}: expected a case and its truth, got an empty cell; fill it"
            raise ScoringError(msg)
        if method in rows.setdefault(row["case"], {}):
            got = f"{row['case']!r} of {method!r}"
            msg = f"{path}: row {line}: expected one row a case and method, got {got} again; remove one"
            raise ScoringError(msg)
        rows[row["case"]][method] = row
        methods[method] = None
    cases, failures = [], []
    for case, by_method in rows.items():
        first = next(iter(by_method.values()))
        for name in ("truth", "brain", "image", "subject", "use"):
            if len({row[name] for row in by_method.values()}) > 1:
                msg = f"{path}: {case}: expected one {name} for all its methods, got several; make them equal"
                raise ScoringError(msg)
        missing = [method for method in methods if not by_method.get(method, {}).get("prediction")]
        if missing:
            failures.append(
                Failure(case, f"{path}: expected a prediction of {', '.join(missing)}, got none; add the row")
            )
            continue
        if first["use"] not in ("", *USES):
            msg = f"{path}: {case}: expected use {', '.join(USES)}, got {first['use']!r}; correct it"
            raise ScoringError(msg)
        if not whole_grid and not first["brain"]:
            failures.append(
                Failure(case, f"{path}: expected a brain mask, got an empty cell; add it, or score with --brain none")
            )
            continue
        files = {name: path.parent / first[name] if first[name] else None for name in ("brain", "image")}
        maps = {method: path.parent / by_method[method]["prediction"] for method in methods}
        use = cast(Use, first["use"] or "test")
        mask = None if whole_grid else files["brain"]
        cases.append(
            MapCase(case, path.parent / first["truth"], maps, mask, files["image"], first["subject"] or case, use)
        )
    if not cases:
        detail = failures[0].reason if failures else "it has no row"
        msg = f"{path}: expected complete cases, got none: {detail}"
        raise ScoringError(msg)
    return Pairing(list(methods), cases, failures)


def _read_rows(path: Path, whole_grid: bool) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, restval="")
            reader.fieldnames = [column.strip().lower() for column in reader.fieldnames or []]
            rows = [
                (line, {name: (row.get(name) or "").strip() for name in _COLUMNS}) for line, row in enumerate(reader, 2)
            ]
            columns = set(reader.fieldnames)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: expected a CSV of paths, got none that can be read ({error})"
        raise ScoringError(msg) from error
    needed = {"case", "prediction", "truth"} | (set() if whole_grid else {"brain"})
    if columns - set(_COLUMNS) or needed - columns:
        got = ", ".join(sorted(columns)) or "an empty file"
        msg = (
            f"{path}: expected the columns {', '.join(sorted(needed))}, and of {', '.join(_COLUMNS)} what is known; "
            f"got {got}"
            f"{'' if whole_grid else ' (without masks: --brain none)'}"
        )
        raise ScoringError(msg)
    return rows
