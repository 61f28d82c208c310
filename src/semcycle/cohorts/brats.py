"""BraTS: multi-modal glioma scans of the Brain Tumor Segmentation challenge, 2017 to 2021.

Skull-stripped, 1 mm, 240 x 240 x 155, in SRI24 space; expert labels 1, 2, 4 (any is lesion here).

**Licence**: registration with the organisers; the TCIA-derived cases of 2018 are CC BY 3.0, those of 2013 CC BY-NC-SA
3.0, and those of 2021 CC BY 4.0, as far as is known.

**Reference**: [menze2015], [bakas2017], [baid2021], which also say where the licences come from.

Layouts::

    <root>/HGG/<case>/<case>_{t1,t1ce,t2,flair,seg}.nii[.gz]      2017-2019, grade as folder
    <root>/LGG/<case>/...
    <root>/<case>/<case>_{t1,t1ce,t2,flair,seg}.nii[.gz]           2020, 2021
    <root>/name_mapping*.csv                                       optional: columns Grade, BraTS_20xx_subject_ID
"""

from __future__ import annotations

import re
from pathlib import Path

from semcycle.cohorts.base import Case, Listing, is_listed
from semcycle.errors import Failure, LayoutError
from semcycle.spreadsheet import read_rows

_MODALITIES = ("t1", "t1ce", "t2", "flair")
GRADES = ("HGG", "LGG")


class Brats:
    """See the module's docstring for the layouts."""

    title = "BraTS 2017-2021 (gliomas; T2 and expert labels)"
    slices = (20, 130)

    def find_cases(self, root: Path) -> Listing:
        """List the labelled cases below ``root``; a folder without T2 or without labels is a failure.

        Raises:
            LayoutError: ``root`` is no folder or holds no BraTS case.
        """
        if not root.is_dir():
            msg = f"{root}: expected a BraTS folder, found none; check the path"
            raise LayoutError(msg)
        folders = _case_folders(root)
        if not folders:
            msg = (
                f"{root}: expected <case>/<case>_t2.nii.gz below it or below HGG and LGG, found no such case; "
                "give the folder that holds the cases"
            )
            raise LayoutError(msg)
        grades = _read_grades(root)
        return Listing.sort(_make_case(folder, grade or grades.get(folder.name, "")) for folder, grade in folders)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small phantoms as one HGG and further LGG cases."""
        from semcycle.cohorts.example import write_ball

        for number in range(cases):
            name = f"Brats18_EX{number:02d}_1_1"
            folder = root / GRADES[min(number, 1)] / name
            write_ball(folder / f"{name}_t2.nii.gz", folder / f"{name}_seg.nii.gz", seed=seed + number)


def _case_folders(root: Path) -> list[tuple[Path, str]]:
    """Folders that look like cases, with the grade their parent tells."""
    folders = []
    for path in sorted(root.glob("*")) + sorted(root.glob("*/*")):
        grade = path.parent.name if path.parent.name in GRADES else ""
        if path.is_dir() and any(_find(path, name) for name in (*_MODALITIES, "seg")):
            folders.append((path, grade))
    return folders


def _find(folder: Path, what: str) -> Path | None:
    for suffix in (".nii.gz", ".nii"):
        path = folder / f"{folder.name}_{what}{suffix}"
        if is_listed(path):
            return path
    return None


def _make_case(folder: Path, grade: str) -> Case | Failure:
    images = {name: path for name in _MODALITIES if (path := _find(folder, name))}
    lesion = _find(folder, "seg")
    if "t2" not in images:
        have = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        return Failure(folder.name, f"{folder}: expected {folder.name}_t2.nii.gz, found {have}; add the T2 image")
    if lesion is None:
        reason = f"{folder}: expected {folder.name}_seg.nii.gz, found none; `semcycle predict` takes unlabelled scans"
        return Failure(folder.name, reason)
    return Case(folder.name, _subject(folder.name), images, lesion, group=grade)


def _subject(case_id: str) -> str:
    """``Brats18_TCIA02_370_1`` -> ``TCIA02_370``: the last number counts the sessions of 2017-2019 names."""
    match = re.fullmatch(r"(?i:brats)1\d_(\w+)_\d+", case_id)
    return match[1] if match else case_id


def _read_grades(root: Path) -> dict[str, str]:
    """Case -> grade from ``name_mapping*.csv``, empty without one.

    Raises:
        LayoutError: The file has no Grade or subject column.
    """
    grades: dict[str, str] = {}
    for path in sorted(root.glob("name_mapping*.csv")):
        columns, rows = read_rows(path)
        names = [column for column in columns if column.lower().endswith("subject_id") and column.startswith("BraTS")]
        if rows and ("Grade" not in columns or not names):
            msg = (
                f"{path}: expected columns Grade and BraTS_20xx_subject_ID, got {', '.join(columns)}; remove or mend it"
            )
            raise LayoutError(msg)
        grades |= {row[name]: row["Grade"] for row in rows for name in names}
    return grades
