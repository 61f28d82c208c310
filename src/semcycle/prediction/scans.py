"""Scans to predict: which files of a folder they are, what their outputs are called, and which mask is whose."""

from __future__ import annotations

from pathlib import Path

from semcycle.errors import VolumeError
from semcycle.volume import is_scan, scan_name

OUTPUTS = ("_anomaly", "_mask", "_reconstruction", "_tissue")
"""What predictions append to a scan's name; such files are never taken for scans."""
BIDS = "dataset_description.json"


def find_scans(path: Path, pattern: str = "*") -> dict[str, Path]:
    """Scans by the name their outputs get.

    Args:
        path: A scan, or a folder that is searched with its subfolders. In a BIDS dataset these are the T2 weighted
            images of the raw data (``*_T2w``), unless a pattern says otherwise.
        pattern: File names to take from a folder, such as ``*_t2.nii.gz``.

    Returns:
        Name -> file, sorted; where two files of a folder have the same name, their subfolder's stands in front.

    Raises:
        VolumeError: Nothing is there.
    """
    if path.is_file():
        return {scan_name(path): path}
    bids = (path / BIDS).is_file()
    wanted = "*_T2w.*" if bids and pattern == "*" else pattern
    found = sorted(
        file
        for file in path.rglob(wanted)
        if file.is_file() and is_scan(file) and not scan_name(file).endswith(OUTPUTS)
    )
    if bids:
        found = [file for file in found if "derivatives" not in file.relative_to(path).parts]
    if not found:
        msg = f"{path}: expected a scan or a folder with scans that match {wanted!r}, found none; see --pattern"
        raise VolumeError(msg)
    names = [scan_name(file) for file in found]
    if len(set(names)) < len(names):
        names = ["_".join([*file.relative_to(path).parts[:-1], scan_name(file)]) for file in found]
    return dict(zip(names, found, strict=True))


def find_mask(given: Path, scan: Path) -> Path:
    """The brain mask of a scan: the given file, or the one in the given folder whose name begins with the scan's.

    Raises:
        VolumeError: The folder has none, or several.
    """
    if not given.is_dir():
        return given
    found = [
        file for file in sorted(given.glob(f"{scan_name(scan)}*")) if is_scan(file) and file.resolve() != scan.resolve()
    ]
    others = tuple(ending for ending in OUTPUTS if ending != "_mask")  # many tools call a brain mask that
    found = [file for file in found if not scan_name(file).endswith(others)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        msg = f"{given}: expected one brain mask {scan_name(scan)}*.nii.gz for {scan.name}, found {names}"
        raise VolumeError(msg)
    return found[0]
