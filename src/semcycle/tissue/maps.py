"""Tissue maps imported from files: those of SPM, fMRIPrep, FSL FAST or ANTs, or those a manifest names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcycle.cohorts.base import Case
from semcycle.errors import TissueError
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.types import TISSUES, VoxelArray, VoxelMask
from semcycle.volume import Volume, is_scan, load_like, scan_name

SPM_PREFIX = {"gm": "c1", "wm": "c2", "csf": "c3"}


@dataclass(frozen=True)
class Scheme:
    """How a program names its maps.

    Attributes:
        name: For messages.
        pattern: How a file's name without suffix ends; the group is the class.
        classes: Sets of classes that can be read.
    """

    name: str
    pattern: re.Pattern[str]
    classes: tuple[tuple[str, ...], ...]


SCHEMES = (
    Scheme("fMRIPrep *_label-{GM,WM,CSF}_probseg", re.compile(r"(?:^|_)label-(GM|WM|CSF)_probseg$"), (TISSUES,)),
    Scheme("FAST *_pve_{0,1,2}", re.compile(r"_pve_(\d+)$"), (("0", "1", "2"),)),
    Scheme("ANTs *Posteriors{1,2,3}", re.compile(r"(?<!BrainSegmentation)Posteriors0*(\d+)$"), (("1", "2", "3"),)),
    Scheme(
        "ANTs *BrainSegmentationPosteriors{1..6}",
        re.compile(r"BrainSegmentationPosteriors0*(\d+)$"),
        (("1", "2", "3", "4", "5", "6"), ("1", "2", "3")),
    ),
)

CORTICAL_THICKNESS = {"gm": ("2", "4", "6"), "wm": ("3", "5"), "csf": ("1",)}
"""Classes of antsCorticalThickness' priors: CSF, GM, WM, deep GM, brain stem, cerebellum."""

OWN_SPACES = {"T2w", "T1w", "orig", "individual", "scanner"}
"""Values of BIDS' ``space-`` that are no template's."""

T2_ORDER = ("wm", "gm", "csf")
"""From dark to bright."""


class ImportedMaps:
    """Reads tissue maps that another program made, for every case under one of these names (``.nii[.gz]``).

    - SPM: ``c1*``, ``c2*``, ``c3*`` (GM, WM, CSF).
    - fMRIPrep and other BIDS derivatives: ``*_label-GM_probseg``, ``-WM``, ``-CSF``; those in a template's space
      (``space-MNI...``) are passed over.
    - FSL FAST: ``*_pve_0``, ``*_pve_1``, ``*_pve_2``.
    - ANTs Atropos with three classes: ``*Posteriors1`` to ``3``, or ``01`` to ``03``.
    - antsCorticalThickness with its six classes: ``*BrainSegmentationPosteriors1`` to ``6``; deep GM and cerebellum
      count as GM, the brain stem as WM.

    FAST and three-class ANTs number their classes by brightness or as their priors are, which depends on the contrast.
    They are told apart by the scan itself, which must be T2-weighted: the class with the darkest mean (weighted with
    its probability) is WM, the brightest CSF.

    Args:
        folder: Holds one folder a case, ``<folder>/<case>/c1*.nii[.gz]``, or all files side by side with the
            case's name in theirs, ``<folder>/c1<case>*.nii[.gz]``. ``None``: the cohort's own paths (``gm``,
            ``wm`` and ``csf`` columns of a manifest).
    """

    def __init__(self, folder: Path | None = None) -> None:
        if folder is not None and not folder.is_dir():
            msg = f"{folder}: expected a folder of tissue maps, found none; correct --tissue-dir"
            raise TissueError(msg)
        self.folder = folder

    def maps(
        self, case: Case, volume: Volume, brain: VoxelMask | None = None, lesion: VoxelMask | None = None
    ) -> TissueMaps:
        """Tissue maps of a case, on the grid of its scan.

        Args:
            case: Whose maps.
            volume: Its scan.
            brain: Not used.
            lesion: ``(I, J, K)``; left out where classes are told apart by their brightness.

        Raises:
            TissueError: A map is missing or ambiguous, or its values are no probabilities.
            GeometryError: A map lies on another grid.
        """
        paths = self._find(case)
        loaded = {
            key: load_like(path, volume, f"{key.upper() if key in TISSUES else f'class {key}'} map")
            for key, path in paths.items()
        }
        if len(loaded) == 6:
            loaded = {tissue: _sum([loaded[key] for key in keys]) for tissue, keys in CORTICAL_THICKNESS.items()}
        elif "gm" not in loaded:
            loaded = _by_brightness(list(loaded.values()), volume, lesion)
        source = str(next(iter(paths.values())).parent)
        return make_tissue_maps(loaded["gm"], loaded["wm"], loaded["csf"], source)

    def describe(self) -> dict[str, str]:
        """Imported maps are told apart by their content, which the case's hash covers."""
        return {"provider": "maps"}

    def files(self, case: Case) -> list[Path]:
        """The files a case's maps are read from."""
        return list(self._find(case).values())

    def _find(self, case: Case) -> dict[str, Path]:
        """Files of a case by tissue, or by class number where the name does not tell the tissue."""
        if self.folder is None:
            return {tissue: _from_manifest(case, tissue) for tissue in TISSUES}
        own = self.folder / case.case_id
        where = own if own.is_dir() else self.folder
        schemes = _named_schemes(where, None if where == own else case.case_id)
        spm = {
            tissue: _spm_files(where, prefix if where == own else prefix + case.case_id)
            for tissue, prefix in SPM_PREFIX.items()
        }
        present = {scheme.name: classes for scheme, classes in schemes.items()}
        if any(spm.values()):
            present["SPM c1, c2, c3"] = spm
        if len(present) > 1:
            listed = "; ".join(
                f"{name} ({', '.join(path.name for paths in classes.values() for path in paths)})"
                for name, classes in present.items()
            )
            msg = f"{where}: expected the maps of one program for {case.case_id}, got {listed}; remove all but one"
            raise TissueError(msg)
        for scheme, classes in schemes.items():
            return _complete(classes, scheme, where, case.case_id)
        remedy = "" if present else "; the names of fMRIPrep, FAST and ANTs are read too"
        return {tissue: _one_spm(spm[tissue], tissue, where, case.case_id, where == own, remedy) for tissue in TISSUES}


def _from_manifest(case: Case, tissue: str) -> Path:
    if tissue not in case.tissue:
        msg = f"{case.case_id}: expected a {tissue} map in the manifest, got none; add it or give --tissue-dir"
        raise TissueError(msg)
    return case.tissue[tissue]


def _spm_files(where: Path, start: str) -> list[Path]:
    candidates = sorted(path for path in where.glob(f"{start}*") if is_scan(path))
    return [path for path in candidates if not any(scheme.pattern.search(scan_name(path)) for scheme in SCHEMES)]


def _one_spm(candidates: list[Path], tissue: str, where: Path, case_id: str, own: bool, remedy: str) -> Path:
    if len(candidates) != 1:
        names = ", ".join(path.name for path in candidates) or "none"
        pattern = f"{SPM_PREFIX[tissue]}*" if own else f"{SPM_PREFIX[tissue]}{case_id}*"
        msg = f"{where}: expected one {tissue.upper()} map {pattern}.nii[.gz] for {case_id}, found {names}{remedy}"
        raise TissueError(msg)
    return candidates[0]


def _named_schemes(where: Path, case_id: str | None) -> dict[Scheme, dict[str, list[Path]]]:
    """Files by naming scheme and class; with a case's name, only those that hold it as a whole word."""
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(case_id)}(?![A-Za-z0-9])" if case_id else "")
    candidates: dict[Scheme, dict[str, list[Path]]] = {}
    for path in sorted(path for path in where.iterdir() if is_scan(path)):
        name = scan_name(path)
        space = re.search(r"(?:^|_)space-([A-Za-z0-9]+)", name)
        if space and space[1] not in OWN_SPACES:
            continue
        for scheme in SCHEMES:
            matched = scheme.pattern.search(name)
            if matched and word.search(name[: matched.start()]):  # ANTs glues its endings to the name
                candidates.setdefault(scheme, {}).setdefault(matched[1].lower(), []).append(path)
    return candidates


def _complete(candidates: dict[str, list[Path]], scheme: Scheme, where: Path, case_id: str) -> dict[str, Path]:
    """One file a class, in the order of the classes, or an error that names what is missing or too much."""
    for paths in candidates.values():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            msg = (
                f"{where}: expected one map of each class for {case_id} ({scheme.name}), found {names}; keep one of "
                "them"
            )
            raise TissueError(msg)
    for classes in scheme.classes:
        if set(classes) == set(candidates):
            return {key: candidates[key][0] for key in classes}
    names = ", ".join(paths[0].name for paths in candidates.values())
    wanted = ", ".join(scheme.classes[0])
    msg = (
        f"{where}: expected the classes {wanted} for {case_id} ({scheme.name}), found {names}; "
        "add what is missing, or segment with these classes"
    )
    raise TissueError(msg)


def _sum(maps: list[VoxelArray]) -> VoxelArray:
    return np.sum(maps, axis=0, dtype=np.float32)


def _by_brightness(maps: list[VoxelArray], volume: Volume, lesion: VoxelMask | None) -> dict[str, VoxelArray]:
    """Name three maps ``(I, J, K)`` by the mean T2 of their voxels outside the lesion."""
    healthy = volume.data if lesion is None else np.where(lesion, np.float32(0), volume.data)
    weight = [part if lesion is None else np.where(lesion, np.float32(0), part) for part in maps]
    levels = [float((part * healthy).sum(dtype=float) / max(part.sum(dtype=float), 1e-6)) for part in weight]
    return {tissue: maps[index] for tissue, index in zip(T2_ORDER, np.argsort(levels), strict=True)}
