"""Which map belongs to which truth: folders matched by case name.

A file's case is its name without image suffix and without endings that say what it is (``_anomaly``, ``_seg``,
``_mask``, ``_brain``, ``_t2`` and the like): ``a01_t2_anomaly.nii.gz`` and ``a01_seg.nii.gz`` are both of case ``a01``.
Where such names repeat in several folders (``a01/truth.nii.gz``, ``b02/truth.nii.gz``), the folder is the case. The
truth names the cases; another file is of the case with its name, or else of the case with the longest name that its own
begins with (``a01-mymodel.nii.gz``; ``a01_2`` and ``a01_ses-2`` are other cases, and of brain masks a name may only go
on with words for masks). Of several candidates the one whose ending says that it is wanted is taken; no or
several candidates are a failure of that case.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from semcycle.errors import Failure, ScoringError
from semcycle.files import walk_files
from semcycle.prediction.scans import MASK_WORDS
from semcycle.scoring.cases import Use
from semcycle.volume import drop_headers, is_scan, scan_name

ENDINGS = {
    "prediction": ("anomaly", "scores", "score", "heatmap", "residual", "map", "prob", "prediction", "pred"),
    "truth": ("seg", "segmentation", "lesion", "lesions", "truth", "gt", "label", "labels", "annotation", "mask"),
    "brain": ("brain_mask", "brainmask", "brain", "bet", "mask"),
    "image": ("t2", "t2w", "t1", "t1w", "t1ce", "flair", "pd", "image", "brain"),
}  # fmt: skip
"""What -> endings after ``_``, ``-`` or ``.``, the surest first."""
OTHER_ENDINGS = ("reconstruction", "tissue", "consensus")
_KNOWN = sorted({*OTHER_ENDINGS, *(end for ends in ENDINGS.values() for end in ends)}, key=len, reverse=True)


@dataclass(frozen=True)
class MapCase:
    """The files of one case.

    Attributes:
        case: Name.
        truth: Lesion labels.
        predictions: Method -> anomaly map.
        brain: Mask; ``None`` for the whole grid.
        image: The scan, for pictures.
        subject: Cases of one subject are resampled together.
        use: ``test``; or ``validation`` or ``healthy``: only to set thresholds on.
    """

    case: str
    truth: Path
    predictions: Mapping[str, Path]
    brain: Path | None = None
    image: Path | None = None
    subject: str = ""
    use: Use = "test"


@dataclass(frozen=True)
class Pairing:
    """Cases that are complete, and what is wrong with the others."""

    methods: list[str]
    cases: list[MapCase]
    failures: list[Failure] = field(default_factory=list)


def pair_folders(
    predictions: Mapping[str, Path], truth: Path, brain: Path | None = None, image: Path | None = None
) -> Pairing:
    """Match files by the names of their cases.

    Args:
        predictions: Method -> folder (searched with its subfolders), pattern such as ``maps/*_t2.nii.gz``, or one file.
        truth: The same, of lesion labels.
        brain: The same, of brain masks; ``None`` for the whole grid.
        image: The same, of scans; a case without is no failure.

    Raises:
        ScoringError: A folder holds no image, or nothing fits together.
    """
    truths = _by_case(truth)

    def of_cases(place: Path, words: frozenset[str] | None = None) -> dict[str, list[Path]]:
        if truth.is_file() and place.is_file():  # one file for one case, whatever they are called
            return {case: [place] for case in truths}
        return _of_cases(_by_case(place), truths, words)

    maps_of = {method: of_cases(folder) for method, folder in predictions.items()}
    brains = of_cases(brain, frozenset(MASK_WORDS)) if brain else None
    images = of_cases(image) if image else {}
    cases, failures = [], []
    for case, files in truths.items():
        try:
            maps = {
                method: _choose(by_case.get(case, []), "prediction", predictions[method])
                for method, by_case in maps_of.items()
            }
            labels = _choose(files, "truth", truth)
            mask = None if brains is None or brain is None else _choose(brains.get(case, []), "brain", brain)
            scans = images.get(case, [])
            scan = _choose(scans, "image", cast(Path, image)) if scans else None
            cases.append(MapCase(case, labels, maps, mask, scan, case))
        except ScoringError as error:
            failures.append(Failure(case, str(error)))
    for method, by_case in maps_of.items():
        for name in sorted(by_case.keys() - truths.keys()):
            reason = (
                f"{by_case[name][0]}: expected a truth of case {name} in {truth}, found none; add it or take the map "
                f"of {method} away"
            )
            failures.append(Failure(name, reason))
    if not cases:
        reasons = f"the first with: {failures[0].reason}" if failures else "no truth"
        msg = (
            f"{truth}: expected cases with a truth and a map each, got none complete, {reasons}; "
            "or list the paths in a CSV"
        )
        raise ScoringError(msg)
    return Pairing(list(predictions), cases, sorted(failures, key=lambda failure: failure.case_id))


def case_name(file: Path) -> str:
    """A file's name without suffix and known endings; with them where nothing else is left."""
    name = whole = scan_name(file)
    while True:
        lower = name.lower()
        cut = next((end for end in _KNOWN if lower.endswith(end) and lower[: -len(end)][-1:] in ("_", "-", ".")), None)
        if cut is None or not (shorter := name[: -len(cut)].rstrip("_-.")):
            return name or whole
        name = shorter


def _by_case(place: Path) -> dict[str, list[Path]]:
    """Case -> files of a folder, pattern or file."""
    text = str(place)
    if "*" in text or "?" in text:
        depth = next(i for i, part in enumerate(place.parts) if "*" in part or "?" in part)
        root, pattern = Path(*place.parts[:depth]), str(Path(*place.parts[depth:]))
    else:
        root, pattern = place, ""
    if place.is_file():
        files = [place]
    elif root.is_dir():  # links to nothing stay: they fail by name
        files = sorted(walk_files(root) if root == place else root.glob(pattern))
    else:
        files = []
    files = drop_headers([file for file in files if is_scan(file) and not file.is_dir()])
    if not files:
        msg = f"{place}: expected a folder (or pattern) with NIfTI files, found none; check the path"
        raise ScoringError(msg)
    by_case = _grouped(files, case_name)
    if any(len({file.parent for file in group}) > 1 for group in by_case.values()):
        by_case = _grouped(files, lambda file: file.parent.name)
    return by_case


def _grouped(files: Sequence[Path], name: Callable[[Path], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(name(file), []).append(file)
    return groups


def _of_cases(
    files: Mapping[str, list[Path]], cases: Mapping[str, object], words: frozenset[str] | None
) -> dict[str, list[Path]]:
    """Files under the names of the cases they belong to; those of no case keep their own."""
    by_case: dict[str, list[Path]] = {name: list(files[name]) for name in files if name in cases}
    for name in sorted(files.keys() - cases.keys()):
        begins = [case for case in cases if name.startswith(case) and _may_follow(name[len(case) :], words)]
        longest = max(begins, key=len, default=None)
        if longest is None:
            by_case[name] = list(files[name])
        elif longest not in files:  # a file of exactly that name comes first
            by_case.setdefault(longest, []).extend(files[name])
    return by_case


def _may_follow(rest: str, words: frozenset[str] | None) -> bool:
    """Whether a name that goes on like this is of the same case: by ``words`` alone, or by anything but a number."""
    parts = re.split(r"[-_. ]+", rest.lower())
    if parts[0]:
        return False
    return set(parts[1:]) <= words if words else not re.match(r"\d|(ses|sub)$", parts[1])


def _choose(files: Sequence[Path], what: str, place: Path) -> Path:
    """The one file of a case.

    Raises:
        ScoringError: None, or several with nothing to tell them apart.
    """
    if not files:
        msg = f"{place}: expected a {what} of this case, found none; add it, or list the paths in a CSV"
        raise ScoringError(msg)
    for ending in ENDINGS[what]:
        named = [file for file in files if scan_name(file).lower().endswith(ending)]
        if len(files) > 1 and named:
            files = named
            break
    if len(files) > 1:
        names = ", ".join(file.name for file in files[:4])
        msg = (
            f"{place}: expected one {what} of this case, found {len(files)} ({names}); give a pattern such as "
            f"'*_{ENDINGS[what][0]}.nii.gz', or a CSV"
        )
        raise ScoringError(msg)
    return files[0]
