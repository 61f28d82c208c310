"""ISLES 2015 SISS: sub-acute ischaemic stroke of the Ischemic Stroke Lesion Segmentation challenge, 28 training cases.

Skull-stripped, 1 mm, 230 x 230 x 153 or 154; all images on one grid; the training cases have expert labels.

**Licence**: registration with the organisers at the SICAS Medical Image Repository (SMIR); that closed, and the data
moved to Zenodo ([maier2017] has the record). Copies elsewhere quote CC BY 4.0; read the terms of the record itself.

**Reference**: [maier2017]. The paper [li2021] calls these 28 cases acute; they are sub-acute (A26).

Layout, at ``<root>`` or up to four folders below it (``SISS2015_Training/<n>``, ``SISS2015/Training/<n>``,
``ISLES2015/ISLES2015_SISS/training_<n>``, as public scripts and lists of the archive have it; the archive itself was
never at hand, so that voxel types, orientation and headers are not tried)::

    <n>/VSD.Brain.XX.O.MR_T2.<id>/VSD.Brain.XX.O.MR_T2.<id>.nii[.gz]     likewise MR_T1, MR_Flair, MR_DWI
    <n>/VSD.Brain_3more.XX.O.OT.<id>/VSD.Brain_3more.XX.O.OT.<id>.nii[.gz]    lesion; "_3more" varies or is missing

Beside them lie what is no SISS training case: SPES (with perfusion maps), test cases (no folder of them has labels),
``__MACOSX`` and hidden files.
"""

from __future__ import annotations

import re
from pathlib import Path

from semcycle.cohorts.base import Case, Listing, is_listed
from semcycle.errors import Failure, LayoutError

_MODALITIES = ("t2", "t1", "flair", "dwi")
DEPTH = 4
"""Folders between the root and the numbered cases, at most."""
_PERFUSION = frozenset({"cbf", "cbv", "ttp", "tmax", "t1c"})
"""Images of SPES, the other half of the challenge, which has T2 images too."""
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
        folders = _training_folders(root)
        if not folders:
            msg = (
                f"{root}: expected <n>/VSD.Brain.XX.O.MR_T2.<id>/*.nii at most {DEPTH} folders below it, beside labels "
                "VSD.Brain_3more.XX.O.OT.<id> in one of them, found no such case; give the folder that holds the "
                "numbered training cases"
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
        """Write small balls with a lesion as training cases, as deep and amid as much else as in the archive."""
        from semcycle.cohorts.example import write_ball

        base = root / "ISLES2015" / "ISLES2015_SISS"
        for number in range(1, cases + 1):
            label = ".XX.O.OT" if number == 1 else f"_{number}more.XX.O.OT"
            t2, truth = (f"VSD.Brain{kind}.{70610 + 6 * number}" for kind in (".XX.O.MR_T2", label))
            folder, ending = base / f"training_{number}", ".nii" if number % 2 else ".nii.gz"
            write_ball(folder / t2 / f"{t2}{ending}", folder / truth / f"{truth}{ending}", seed=seed + number)
            shadow = root / "__MACOSX" / folder.relative_to(root) / t2
            shadow.mkdir(parents=True)
            (shadow / f"._{t2}{ending}").write_bytes(b"\0\5\x16\7")
        for other in (
            "ISLES2015_SISS_Testing/1/VSD.Brain.XX.O.MR_T2.70900",
            "ISLES2015_SPES/1/VSD.Brain.XX.O.MR_CBF.71",
        ):
            (root / "ISLES2015" / other).mkdir(parents=True)
        (base / ".DS_Store").touch()


def _training_folders(root: Path) -> list[Path]:
    """Folders that hold ``VSD.Brain...`` folders, of every place where one of them has labels; nothing of SPES."""
    places: dict[Path, list[Path]] = {}
    for depth in range(1, DEPTH + 2):
        for folder in sorted({path.parent for path in root.glob("*/" * depth + "VSD.*") if path.is_dir()}):
            inside = folder.relative_to(root).parts
            if any(part == "__MACOSX" or part.startswith(".") for part in inside):
                continue
            kinds = {(kind[1] or kind[2]).lower() for path in folder.iterdir() if (kind := _KIND.fullmatch(path.name))}
            if kinds and not kinds & _PERFUSION:
                places.setdefault(folder.parent, []).append(folder)
    labelled = [folders for folders in places.values() if any(map(_has_labels, folders))]
    return [folder for folders in labelled or list(places.values()) for folder in folders]


def _has_labels(folder: Path) -> bool:
    return any((kind := _KIND.fullmatch(path.name)) and kind[2] for path in folder.iterdir())


def _find(folder: Path) -> dict[str, list[Path]]:
    """Modality or ``"ot"`` -> its images; of an image with and without ``.gz``, the one with."""
    images: dict[str, dict[str, Path]] = {}
    for path in sorted(folder.glob("VSD.*/*")):
        kind = _KIND.fullmatch(path.parent.name)
        if kind and re.fullmatch(r"[^.].*\.nii(\.gz)?", path.name) and is_listed(path):
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
