"""Manifest: any collection, listed in a CSV.

``manifest.csv`` with a row a case; paths are relative to the CSV, or absolute::

    case,subject,t2,lesion,brain_mask,gm,wm,csf,group
    a01,alice,a01/t2.nii.gz,a01/lesion.nii.gz,,,,,patient
    b01,bob,b01/t2.nii.gz,,,,,,control

``case`` and ``t2`` (or another modality: ``t1``, ``flair``, ``pd``) are needed. An empty ``lesion`` declares the scan
free of lesions; an empty ``brain_mask`` says that it is skull-stripped; ``gm``, ``wm`` and ``csf`` are probability maps
in [0, 1] on the grid of the image; ``subject`` is the case where it is empty; ``group`` is a stratum for splits.

**Licence** and **reference**: yours.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path

from semcycle.cohorts.base import Case, Listing
from semcycle.errors import Failure, LayoutError
from semcycle.files import write_bytes
from semcycle.spreadsheet import defuse_cell, read_rows, restore_cell
from semcycle.types import TISSUES

_MODALITIES = ("t2", "t1", "flair", "pd")
_COLUMNS = ("case", "subject", *_MODALITIES, "lesion", "brain_mask", *TISSUES, "group")
MANIFEST_CSV = "manifest.csv"


class Manifest:
    """See the module's docstring for the columns."""

    title = "any collection, listed in manifest.csv"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the rows of ``root/manifest.csv`` (or of ``root``, if that is the CSV).

        Raises:
            LayoutError: No such file, an unknown or missing column, an empty, unusable or repeated case id.
        """
        path = root if root.is_file() else root / MANIFEST_CSV
        if not path.is_file():
            msg = f"{root}: expected {MANIFEST_CSV} in it, found none; list the scans in one"
            raise LayoutError(msg)
        cases, failures = [], []
        for number, row in _read_rows(path):
            case = _make_case(row, path.parent)
            paths = [*case.images.values(), *case.tissue.values(), case.lesion, case.brain_mask]
            missing = [str(file) for file in paths if file is not None and not _is_there(file)]
            if missing:
                reason = f"{path}: row {number}: expected {missing[0]}, found no such file; correct the path"
                failures.append(Failure(case.case_id, reason))
            else:
                cases.append(case)
        return Listing(sorted(cases, key=lambda case: case.case_id), failures)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small balls, every second one with a lesion."""
        from semcycle.cohorts.example import write_ball

        examples = []
        for number in range(cases):
            name = f"case{number:02d}"
            image, lesion = root / name / "t2.nii.gz", root / name / "lesion.nii.gz"
            write_ball(image, lesion if number % 2 else None, seed=seed + number)
            examples.append(Case(name, name, {"t2": image}, lesion if number % 2 else None))
        write_manifest(root, examples)


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def write_manifest(root: Path, cases: Iterable[Case]) -> Path:
    """Write ``root/manifest.csv`` for cases; files below ``root`` are named relative to it."""

    def name(path: Path | None) -> str:
        if path is None:
            return ""
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for case in cases:
        files = {**case.images, "lesion": case.lesion, "brain_mask": case.brain_mask, **case.tissue}
        row = {"case": case.case_id, "subject": case.subject, "group": case.group}
        row |= {column: name(path) for column, path in files.items()}
        writer.writerow({column: defuse_cell(text) for column, text in row.items()})
    write_bytes(root / MANIFEST_CSV, text.getvalue().encode())
    return root / MANIFEST_CSV


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line number, columns and case ids checked."""
    named, table = read_rows(path)
    columns = [column.strip().lower() for column in named]
    rows = [
        (line, {column: restore_cell(row[name]) for column, name in zip(columns, named, strict=True)})
        for line, row in enumerate(table, start=2)
    ]
    unknown = sorted(set(columns) - set(_COLUMNS))
    if "case" not in columns or not set(columns) & set(_MODALITIES) or unknown:
        got = f"unknown columns {', '.join(unknown)}" if unknown else ", ".join(columns) or "an empty file"
        msg = f"{path}: expected the columns case and t2, optionally {', '.join(_COLUMNS[1:])}; got {got}"
        raise LayoutError(msg)
    seen: dict[str, int] = {}
    for line, row in rows:
        name = row["case"].strip()
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name) or name.startswith("."):
            msg = f"{path}: row {line}: expected a case id of letters, digits, '_', '-', '.', got {name!r}; rename it"
            raise LayoutError(msg)
        if name in seen:
            msg = (
                f"{path}: row {line}: expected unique case ids, got {name!r} again (first in row {seen[name]}); rename "
                "one"
            )
            raise LayoutError(msg)
        seen[name] = line
    return rows


def _make_case(row: dict[str, str], folder: Path) -> Case:
    def files(columns: Iterable[str]) -> dict[str, Path]:
        return {column: folder / text for column in columns if (text := (row.get(column) or "").strip())}

    masks, name = files(("lesion", "brain_mask")), row["case"].strip()
    return Case(
        case_id=name,
        subject=(row.get("subject") or "").strip() or name,
        images=files(_MODALITIES),
        lesion=masks.get("lesion"),
        brain_mask=masks.get("brain_mask"),
        tissue=files(TISSUES),
        group=(row.get("group") or "").strip(),
    )
