"""Tissue maps imported from files: SPM's ``c1``/``c2``/``c3``, or those a manifest names."""

from pathlib import Path

from semcycle.cohorts.base import Case
from semcycle.errors import TissueError
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.types import TISSUES
from semcycle.volume import Volume, is_scan, load_like

SPM_PREFIX = {"gm": "c1", "wm": "c2", "csf": "c3"}


class ImportedMaps:
    """Reads ``c1*``, ``c2*``, ``c3*`` (GM, WM, CSF: SPM's names) beside each other for every case.

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

    def maps(self, case: Case, volume: Volume) -> TissueMaps:
        """Tissue maps of a case, on the grid of its scan.

        Raises:
            TissueError: A map is missing or ambiguous, or its values are no probabilities.
            GeometryError: A map lies on another grid.
        """
        paths = {tissue: self._find(case, tissue) for tissue in TISSUES}
        gm, wm, csf = (load_like(paths[tissue], volume, f"{tissue.upper()} map") for tissue in TISSUES)
        return make_tissue_maps(gm, wm, csf, str(paths["gm"].parent))

    def describe(self) -> dict[str, str]:
        """Imported maps are told apart by their content, which the case's hash covers."""
        return {"provider": "maps"}

    def files(self, case: Case) -> list[Path]:
        """The files a case's maps are read from."""
        return [self._find(case, tissue) for tissue in TISSUES]

    def _find(self, case: Case, tissue: str) -> Path:
        if self.folder is None:
            if tissue not in case.tissue:
                msg = f"{case.case_id}: expected a {tissue} map in the manifest, got none; add it or give --tissue-dir"
                raise TissueError(msg)
            return case.tissue[tissue]
        prefix, own = SPM_PREFIX[tissue], self.folder / case.case_id
        where, pattern = (own, f"{prefix}*") if own.is_dir() else (self.folder, f"{prefix}{case.case_id}*")
        found = sorted(path for path in where.glob(pattern) if is_scan(path))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            msg = f"{where}: expected one {tissue.upper()} map {pattern}.nii[.gz] for {case.case_id}, found {names}"
            raise TissueError(msg)
        return found[0]
