"""IXI: nearly 600 healthy subjects of three London hospitals.

The scans have their skull: give a brain mask beside each T2, or skull-stripped scans. T1 is on a grid of its own.

**Licence**: CC BY-SA 3.0.

**Reference**: [ixi].

Layout; names may have any prefix (``ds_IXI002-Guys-0828-T2.nii``), and the folders may be called ``T2`` ... as well::

    <root>/IXI002-Guys-0828-{T2,T1,PD}.nii[.gz]
    <root>/IXI-{T2,T1,PD}/IXI002-Guys-0828-{T2,T1,PD}.nii[.gz]
    beside the T2, optional: IXI002-Guys-0828_brainmask, IXI002-Guys-0828-T2_brainmask or IXI002-Guys-0828-T2_mask
"""

from __future__ import annotations

import re
from pathlib import Path

from semcycle.cohorts.base import Case, Listing, is_listed
from semcycle.errors import Failure, LayoutError

_MODALITIES = ("t2", "t1", "pd")
SITES = ("Guys", "HH", "IOP")
_SCAN = re.compile(r"(?!\.).*?((IXI\d+)-([A-Za-z]+)-\d+)-(T2|T1|PD)\.nii(\.gz)?")


class Ixi:
    """See the module's docstring for the layout."""

    title = "IXI (healthy; T2, T1 and PD)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the sessions below ``root``, all of them free of lesions; a session without T2 is a failure.

        Raises:
            LayoutError: ``root`` is no folder or holds no IXI scan.
        """
        if not root.is_dir():
            msg = f"{root}: expected an IXI folder, found none; check the path"
            raise LayoutError(msg)
        sessions = _find_sessions(root)
        if not sessions:
            msg = (
                f"{root}: expected IXI...-T2.nii.gz in it or in IXI-T2 below it, found no such scan; "
                "give the folder that holds the scans or the folders IXI-T2, IXI-T1, IXI-PD"
            )
            raise LayoutError(msg)
        return Listing.sort(_make_case(root, case_id, sessions[case_id]) for case_id in sessions)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small healthy balls, skull-stripped, one site after the other."""
        from semcycle.cohorts.example import write_ball

        for number in range(cases):
            name = f"IXI{number:03d}-{SITES[number % len(SITES)]}-{number:04d}-T2.nii.gz"
            write_ball(root / "IXI-T2" / name, None, seed=seed + number)


def _find_sessions(root: Path) -> dict[str, dict[str, list[Path]]]:
    """Session -> modality -> its scans; of a scan with and without ``.gz``, the one with."""
    places = [path for path in sorted(root.glob("*")) if re.fullmatch(r"(?i:(IXI-)?(T2|T1|PD))", path.name)]
    sessions: dict[str, dict[str, dict[str, Path]]] = {}
    for path in (path for place in (root, *places) for path in sorted(place.glob("*"))):
        scan = _SCAN.fullmatch(path.name)
        if scan and is_listed(path):
            scans = sessions.setdefault(scan[1], {}).setdefault(scan[4].lower(), {})
            scans[str(path).removesuffix(".gz")] = path
    return {name: {kind: list(scans.values()) for kind, scans in kinds.items()} for name, kinds in sessions.items()}


def _make_case(root: Path, case_id: str, scans: dict[str, list[Path]]) -> Case | Failure:
    for kind in _MODALITIES:
        if len(scans.get(kind, [])) > 1:
            first, second, *_ = (path.relative_to(root) for path in scans[kind])
            reason = f"{root}: expected one {kind.upper()} of {case_id}, got {first} and {second}; remove one"
            return Failure(case_id, reason)
    if "t2" not in scans:
        have = ", ".join(str(path.relative_to(root)) for paths in scans.values() for path in paths)
        reason = f"{root}: expected {case_id}-T2.nii.gz, found {have}; add the T2 image"
        return Failure(case_id, reason)
    t2, (subject, site, _) = scans["t2"][0], case_id.split("-")
    images = {kind: scans[kind][0] for kind in _MODALITIES if kind in scans}
    return Case(case_id, subject, images, brain_mask=_find_mask(t2, case_id), group=site)


def _find_mask(t2: Path, case_id: str) -> Path | None:
    stem = t2.name.removesuffix(".gz").removesuffix(".nii")
    session = stem.removesuffix("-T2")
    for name in (f"{stem}_brainmask", f"{session}_brainmask", f"{case_id}_brainmask", f"{stem}_mask"):
        for suffix in (".nii.gz", ".nii"):
            path = t2.parent / f"{name}{suffix}"
            if is_listed(path):
                return path
    return None
