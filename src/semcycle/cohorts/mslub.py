"""MSLUB: 30 patients with multiple sclerosis of the University Medical Centre Ljubljana, consensus of three raters.

In MNI space (182 x 218 x 182, 1 mm) skull-stripped; co-registered only, with their skull and a brain mask.

**Licence**: CC BY.

**Reference**: [lesjak2018].

Layouts; ``T1W`` and ``FLAIR`` are optional, and so is ``brainmask``, without which a scan counts as skull-stripped::

    <root>/patientNN/{T2W,T1W,FLAIR,consensus_gt}.nii[.gz]                               in MNI space
    <root>/patientNN/patientNN_{T2W,T1W,FLAIR,consensus_gt,brainmask}.nii[.gz]           co-registered
    <root>/patientNN/preprocessed/{T2W,T1W,FLAIR}.nii[.gz]                               co-registered, as released
    <root>/patientNN/{consensus_gt,brainmask}.nii[.gz]
"""

from __future__ import annotations

import re
from pathlib import Path

from semcycle.cohorts.base import Case, Listing, is_listed
from semcycle.errors import Failure, LayoutError

_MODALITIES = {"t2": "T2W", "t1": "T1W", "flair": "FLAIR"}


class Mslub:
    """See the module's docstring for the layouts."""

    title = "MSLUB (multiple sclerosis; T2 and expert labels)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the patients below ``root``; a folder without T2 or without consensus is a failure.

        Raises:
            LayoutError: ``root`` is no folder or holds no patient.
        """
        if not root.is_dir():
            msg = f"{root}: expected an MSLUB folder, found none; check the path"
            raise LayoutError(msg)
        folders = [path for path in sorted(root.glob("*")) if re.fullmatch(r"patient\d+", path.name) and path.is_dir()]
        if not folders:
            msg = (
                f"{root}: expected patientNN/T2W.nii.gz or patientNN/patientNN_T2W.nii.gz below it, found no such "
                "patient; give the folder that holds the patients"
            )
            raise LayoutError(msg)
        return Listing.sort(map(_make_case, folders))

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small balls with a lesion in the layout of MNI space."""
        from semcycle.cohorts.example import write_ball

        for number in range(1, cases + 1):
            folder = root / f"patient{number:02d}"
            write_ball(folder / "T2W.nii.gz", folder / "consensus_gt.nii.gz", seed=seed + number)


def _find(folder: Path, patient: str, what: str) -> Path | None:
    for name in (what, f"{patient}_{what}"):
        for suffix in (".nii.gz", ".nii"):
            path = folder / f"{name}{suffix}"
            if is_listed(path):
                return path
    return None


def _make_case(folder: Path) -> Case | Failure:
    name = folder.name
    t2 = _find(folder, name, "T2W") or _find(folder / "preprocessed", name, "T2W")
    if t2 is None:
        have = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
        reason = f"{folder}: expected T2W.nii.gz or {name}_T2W.nii.gz, found {have}; add the T2 image"
        return Failure(name, reason)
    images = {modality: path for modality, what in _MODALITIES.items() if (path := _find(t2.parent, name, what))}
    lesion, brain_mask = (
        _find(t2.parent, name, what) or _find(folder, name, what) for what in ("consensus_gt", "brainmask")
    )
    if lesion is None:
        reason = f"{folder}: expected consensus_gt.nii.gz, found none; `semcycle predict` takes unlabelled scans"
        return Failure(name, reason)
    return Case(name, name, images, lesion, brain_mask)
