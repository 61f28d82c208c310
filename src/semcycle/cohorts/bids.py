"""BIDS: any raw dataset of the Brain Imaging Data Structure, with masks and tissue maps from its derivatives.

Each T2w is a case. A subject without any lesion mask is declared free of lesions; where a subject has lesion masks, a
T2w that none of them fits is a failure, never a healthy scan. Without a brain mask a scan counts as skull-stripped.

**Licence**: that of the dataset, see its ``dataset_description.json``.

**Reference**: [gorgolewski2016].

Layout; ``<stem>`` is the name of the T2w without its suffix, and ``ses-*`` is optional throughout::

    <root>/dataset_description.json
    <root>/participants.tsv                                                  optional: column group or diagnosis
    <root>/sub-*/ses-*/anat/<stem>_{T2w,T1w,FLAIR,PDw}.nii[.gz]
    <root>/derivatives/*/sub-*/ses-*/anat/<stem>[_T2w]_label-lesion_{mask,roi}.nii[.gz]     or _desc-lesion_, _lesion_
    <root>/derivatives/*/sub-*/ses-*/anat/<stem>_desc-brain_mask.nii[.gz]
    <root>/derivatives/*/sub-*/ses-*/anat/<stem>_label-{GM,WM,CSF}_probseg.nii[.gz]

A derivative fits a T2w of its subject and session if it is in the space of the T2w (no ``space``, ``space-T2w`` or
``space-orig``; not named after a T1w, FLAIR or PDw) and contradicts none of its entities (``acq``, ``run``, ...). The
one with most entities of the T2w is taken; two that are equally good are a failure. Lesion masks beside the T2w count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semcycle.cohorts.base import Case, Listing, is_listed
from semcycle.errors import Failure, LayoutError
from semcycle.files import write_bytes
from semcycle.spreadsheet import read_rows
from semcycle.types import TISSUES

_MODALITIES = {"T2w": "t2", "T1w": "t1", "FLAIR": "flair", "PDw": "pd"}
DESCRIPTION, PARTICIPANTS = "dataset_description.json", "participants.tsv"
ACQUISITION = ("acq", "ce", "rec", "run", "echo", "inv", "flip", "part", "chunk")
"""Entities that tell the scans of one session apart."""


class Bids:
    """See the module's docstring for the layout."""

    title = "BIDS (any raw dataset; T2w, masks from derivatives)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the T2w images below ``root``; a session without T2w and masks that do not fit are failures.

        Raises:
            LayoutError: ``root`` is no raw BIDS dataset or holds no subject.
        """
        if not (root / DESCRIPTION).is_file():
            msg = f"{root}: expected {DESCRIPTION} in it, found none; give the root of a BIDS dataset"
            raise LayoutError(msg)
        subjects = [path for path in sorted(root.glob("sub-*")) if path.is_dir() or path.is_symlink()]
        if not subjects:
            msg = f"{root}: expected sub-*/anat/sub-*_T2w.nii.gz below it, found no subject; give the raw dataset"
            raise LayoutError(msg)
        groups = _read_groups(root / PARTICIPANTS)
        derivatives = [path for path in sorted(root.glob("derivatives/*")) if path.is_dir()]
        return Listing.sort(
            outcome
            for subject in subjects
            for outcome in _make_cases(subject, derivatives, groups.get(subject.name, ""))
        )

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write small balls, every second one with a lesion mask in ``derivatives/lesions``."""
        from semcycle.cohorts.example import write_ball

        rows = ["participant_id\tgroup"]
        for number in range(1, cases + 1):
            name, ill = f"sub-{number:02d}", number % 2 == 0 or cases == 1
            lesion = root / "derivatives" / "lesions" / name / "anat" / f"{name}_label-lesion_mask.nii.gz"
            write_ball(root / name / "anat" / f"{name}_T2w.nii.gz", lesion if ill else None, seed=seed + number)
            rows.append(f"{name}\t{'patient' if ill else 'control'}")
        write_bytes(root / PARTICIPANTS, ("\n".join(rows) + "\n").encode())
        for folder, kind in ((root, "raw"), (root / "derivatives" / "lesions", "derivative")):
            text = json.dumps({"Name": "semcycle example", "BIDSVersion": "1.9.0", "DatasetType": kind}, indent=2)
            write_bytes(folder / DESCRIPTION, f"{text}\n".encode())


@dataclass(frozen=True)
class _File:
    """A NIfTI file with its name taken apart: ``sub-01_run-1_T2w`` has two entities and one word."""

    path: Path
    stem: str
    entities: dict[str, str]
    words: tuple[str, ...]

    @property
    def session(self) -> tuple[str, str]:
        return self.entities["sub"], self.entities.get("ses", "")

    @property
    def acquisition(self) -> dict[str, str]:
        return {key: value for key, value in self.entities.items() if key in ACQUISITION}


def _parse(path: Path) -> _File | None:
    match = re.fullmatch(r"(sub-.+)\.nii(\.gz)?", path.name)
    if not match:
        return None
    parts = match[1].split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    if "run" in entities:
        entities["run"] = entities["run"].lstrip("0")
    words = tuple(part for part in parts if "-" not in part)
    return _File(path, match[1], entities, words) if words else None


def _list_files(subject: Path) -> list[_File]:
    """The NIfTI files in a subject's ``anat`` folders; of a file with and without ``.gz``, the one with."""
    patterns = ("anat/*", "ses-*/anat/*")
    paths = [path for pattern in patterns for path in sorted(subject.glob(pattern)) if is_listed(path)]
    files = {str(path).removesuffix(".gz"): file for path in paths if (file := _parse(path))}
    return [file for file in files.values() if f"sub-{file.entities['sub']}" == subject.name]


def _make_cases(subject: Path, derivatives: Iterable[Path], group: str) -> list[Case | Failure]:
    raw = _list_files(subject)
    extra = [file for folder in derivatives for file in _list_files(folder / subject.name)]
    extra += [file for file in raw if _is_lesion(file)]
    sessions: dict[tuple[str, str], list[_File]] = {}
    for file in raw:
        whole = file.entities.get("part", "mag") == "mag"
        if len(file.words) == 1 and file.words[0] in _MODALITIES and whole:
            sessions.setdefault(file.session, []).append(file)
    if not sessions:
        reason = f"{subject}: expected anat/{subject.name}_T2w.nii.gz, found no anatomical image; add the T2 image"
        return [Failure(subject.name, reason)]
    outcomes: list[Case | Failure] = []
    for (_, session), files in sessions.items():
        images = [file for file in files if file.words == ("T2w",)]
        outcomes += [_make_case(image, files, extra, group) for image in images]
        if not images:
            name = f"{subject.name}_ses-{session}" if session else subject.name
            have = ", ".join(file.path.name for file in files[:6])
            reason = f"{files[0].path.parent}: expected {name}_T2w.nii.gz, found {have}; add the T2 image"
            outcomes.append(Failure(name, reason))
    return outcomes


def _make_case(image: _File, session: list[_File], derivatives: list[_File], group: str) -> Case | Failure:
    case_id, subject = image.stem.removesuffix("_T2w"), f"sub-{image.entities['sub']}"
    kinds: dict[str, Callable[[_File], bool]] = {"lesion": _is_lesion, "brain": _is_brain}
    kinds |= {name: partial(_is_tissue, name) for name in TISSUES}
    labels: dict[str, Path] = {}
    for kind, wanted in kinds.items():
        candidates = [file for file in derivatives if wanted(file)]
        best = _best(candidates, image)
        if len(best) > 1:
            what = f"{kind} map" if kind in TISSUES else f"{kind} mask"
            reason = f"{image.path}: expected one {what}, got {best[0].path} and {best[1].path}; remove one"
            return Failure(case_id, reason)
        if best:
            labels[kind] = best[0].path
        elif kind == "lesion" and candidates:
            reason = (
                f"{image.path}: expected a lesion mask on its grid since {subject} has lesions, found only "
                f"{candidates[0].path}; bring it to the grid of the T2w as {case_id}_label-lesion_mask.nii.gz"
            )
            return Failure(case_id, reason)
    tissue = {name: labels[name] for name in TISSUES if name in labels}
    return Case(case_id, subject, _images(image, session), labels.get("lesion"), labels.get("brain"), tissue, group)


def _images(image: _File, session: list[_File]) -> dict[str, Path]:
    """The T2w and the session's other images: the one with the entities of the T2w, or the only one."""
    images = {"t2": image.path}
    for suffix, modality in _MODALITIES.items():
        files = [file for file in session if file.words == (suffix,)]
        alike = [file for file in files if file.acquisition == image.acquisition]
        for choice in (alike, files):
            if modality not in images and len(choice) == 1:
                images[modality] = choice[0].path
    return images


def _best(files: list[_File], image: _File) -> list[_File]:
    """Those that share most with the T2w among those that fit it."""
    scores = [_score(file, image) for file in files]
    best = max(scores, default=-1)
    return [file for file, score in zip(files, scores, strict=True) if score == best] if best >= 0 else []


def _score(file: _File, image: _File) -> int:
    """How many entities are shared with the T2w, and whether it is named; -1 where the file does not fit."""
    space = file.entities.get("space", "").lower()
    named = set(file.words[:-1]) & set(_MODALITIES)
    fits = file.session == image.session and space in ("", "t2w", "orig") and named <= {"T2w"}
    if not fits or not file.acquisition.items() <= image.acquisition.items():
        return -1
    return 2 * len(file.acquisition) + (space == "t2w" or bool(named))


def _is_lesion(file: _File) -> bool:
    names = (file.entities.get("label", ""), file.entities.get("desc", ""), *file.words[-2:-1])
    return file.words[-1] in ("mask", "roi") and "lesion" in [name.lower() for name in names]


def _is_brain(file: _File) -> bool:
    return file.words[-1] == "mask" and file.entities.get("desc") == "brain" and not _is_lesion(file)


def _is_tissue(name: str, file: _File) -> bool:
    return file.words[-1] == "probseg" and file.entities.get("label", "").lower() == name


def _read_groups(path: Path) -> dict[str, str]:
    """Subject -> group or diagnosis from ``participants.tsv``, empty without one.

    Raises:
        LayoutError: The file has no column ``participant_id``.
    """
    if not path.is_file():
        return {}
    columns, rows = read_rows(path, "\t")
    column = next((name for name in ("group", "diagnosis") if name in columns), None)
    if rows and "participant_id" not in columns:
        msg = f"{path}: expected a column participant_id, got {', '.join(map(str, columns))}; remove or mend it"
        raise LayoutError(msg)
    if column is None:
        return {}
    groups = {f"sub-{row['participant_id'].strip().removeprefix('sub-')}": row[column].strip() for row in rows}
    return {name: "" if group == "n/a" else group for name, group in groups.items()}
