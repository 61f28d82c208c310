"""ISLES 2015 SISS: sub-acute ischaemic stroke of the Ischemic Stroke Lesion Segmentation challenge, 28 training cases.

Skull-stripped, 1 mm, 230 x 230 x 153 or 154; all images on one grid; the training cases have expert labels.

**Licence**: registration with the organisers at the SICAS Medical Image Repository (SMIR); that closed, and the data
moved to Zenodo ([maier2017] has the record). Copies elsewhere quote CC BY 4.0; read the terms of the record itself.

**Reference**: [maier2017]. The paper [li2021] calls these 28 cases acute; they are sub-acute (A26).

Layout, ``<root>`` or ``<root>/Training`` or ``<root>/SISS2015_Training``::

    <root>/<n>/VSD.Brain.XX.O.MR_T2.<id>/VSD.Brain.XX.O.MR_T2.<id>.nii[.gz]     likewise MR_T1, MR_Flair, MR_DWI
    <root>/<n>/VSD.Brain_3more.XX.O.OT.<id>/VSD.Brain_3more.XX.O.OT.<id>.nii[.gz]    lesion; digits before "more" vary
"""

from __future__ import annotations

import re
from pathlib import Path

from semcycle.cohorts.base import Case, Listing
from semcycle.errors import Failure, LayoutError

_MODALITIES = ("t2", "t1", "flair", "dwi")
TRAINING = ("Training", "SISS2015_Training")
_KIND = re.compile(r"VSD\.Brain.*\.(?:MR_(\w+)|(OT))(?:\..*)?", re.IGNORECASE)


class Isles2015:
    """See the module's docstring for the layout."""

    title = "ISLES 2015 SISS (sub-acute stroke; T2 and expert labels)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the labelled cases below ``root``; a folder without T2 or without labels is a failure.

        Raises:
            LayoutError: ``root`` is no folder or holds no SISS case.
        """
        if not root.is_dir():
            msg = f"{root}: expected an ISLES 2015 folder, found none; check the path"
            raise LayoutError(msg)
        folders = next(
            (inside for place in (root, *(root / name for name in TRAINING)) if (inside := _folders(place))), []
        )
        if not folders:
            msg = (
                f"{root}: expected <n>/VSD.Brain.XX.O.MR_T2.<id>/*.nii below it or below Training, found no such case; "
                "give the folder that holds the numbered cases"
            )
            raise LayoutError(msg)
        outcomes: list[Case | Failure] = []
        names: set[str] = set()
        for folder in folders:
            outcome = _make_case(folder)
            if isinstance(outcome, Case) and outcome.case_id in names:
                name = outcome.case_id
                reason = f"{folder}: expected one folder for each number, got another {name}; rename or remove one"
                outcome = Failure(folder.name, reason)
            elif isinstance(outcome, Case):
                names.add(outcome.case_id)
            outcomes.append(outcome)
        return Listing.sort(outcomes)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small balls with a lesion as training cases."""
        from semcycle.cohorts.example import write_ball

        for number in range(1, cases + 1):
            t2, truth = (f"VSD.Brain{kind}.{70000 + number}" for kind in (".XX.O.MR_T2", "_3more.XX.O.OT"))
            folder = root / str(number)
            write_ball(folder / t2 / f"{t2}.nii", folder / truth / f"{truth}.nii", seed=seed + number)


def _folders(place: Path) -> list[Path]:
    """Folders that hold ``VSD.Brain...`` folders."""
    return sorted({path.parent for path in place.glob("*/VSD.*") if path.is_dir() and _KIND.fullmatch(path.name)})


def _find(folder: Path) -> dict[str, list[Path]]:
    """Modality or ``"ot"`` -> its images; of an image with and without ``.gz``, the one with."""
    images: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("VSD.*/*")):
        kind = _KIND.fullmatch(path.parent.name)
        if kind and re.fullmatch(r"[^.].*\.nii(\.gz)?", path.name) and path.is_file():
            images.setdefault((kind[1] or kind[2]).lower(), {})[str(path).removesuffix(".gz")] = path
    return {kind: list(paths.values()) for kind, paths in images.items()}


def _make_case(folder: Path) -> Case | Failure:
    number = re.search(r"\d+$", folder.name)
    case_id = f"siss{int(number[0]):02d}" if number else folder.name
    images = _find(folder)
    for kind in (*_MODALITIES, "ot"):
        if len(images.get(kind, [])) > 1:
            first, second, *_ = images[kind]
            reason = f"{folder}: expected one image of {kind.upper()}, got {first.name} and {second.name}; remove one"
            return Failure(case_id, reason)
    if "t2" not in images:
        have = ", ".join(sorted(path.name for path in folder.iterdir())[:6])
        reason = f"{folder}: expected VSD.Brain.XX.O.MR_T2.<id>/*.nii, found {have}; add the T2 image"
        return Failure(case_id, reason)
    if "ot" not in images:
        reason = (
            f"{folder}: expected VSD.Brain_3more.XX.O.OT.<id>/*.nii, found none (testing cases have none); "
            "`semcycle predict` takes unlabelled scans"
        )
        return Failure(case_id, reason)
    return Case(case_id, case_id, {name: images[name][0] for name in _MODALITIES if name in images}, images["ot"][0])
