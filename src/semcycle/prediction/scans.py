"""Scans to predict: which files of a folder they are, what their outputs are called, and which mask is whose."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from pathlib import Path

from semcycle.errors import SettingsError, VolumeError
from semcycle.files import walk_files
from semcycle.volume import drop_headers, is_scan, scan_name

_OUTPUTS = ("_anomaly", "_mask", "_reconstruction", "_tissue", "_input")
"""What predictions append to a scan's name; such files are never taken for scans."""
BIDS = "dataset_description.json"
NOT_RAW = ("derivatives", "sourcedata", "code")
"""Folders of a BIDS dataset whose images are not its raw data."""
NOT_MAGNITUDE = re.compile(r"_part-(phase|real|imag)(_|$)")
MASK_WORDS = {
    *("mask", "brain", "brainmask", "bet", "bet2", "hd", "hdbet", "synthstrip", "robex", "deepbet"),
    *("label", "seg", "roi", "bin", "binary", "desc", "space", "native", "t2", "t2w"),
    *("manual", "edited", "corrected", "final"),
}
"""What may follow a scan's name in the name of its brain mask."""


def find_scans(path: Path, pattern: str = "*") -> dict[str, Path]:
    """Scans by the name their outputs get.

    Args:
        path: A scan, or a folder that is searched with its subfolders, links to folders included, hidden ones left
            out. In a BIDS dataset and its subjects these are the T2 weighted magnitude images of the raw data
            (``*_T2w``), unless a pattern says otherwise.
        pattern: File names to take from a folder, such as ``*_t2.nii.gz``.

    Returns:
        Name -> file, sorted. Where two files have the same name, the subfolders stand in front, and where that is not
        enough, all of the file's name. Links to nothing and folders that cannot be read are listed: they fail by name.

    Raises:
        VolumeError: Nothing is there, or two outputs would have the same name.
        SettingsError: The pattern names no files.
    """
    if not pattern.strip("./*") and pattern != "*":
        msg = f"expected a pattern of file names such as *_t2.nii.gz, got {pattern!r}; correct --pattern"
        raise SettingsError(msg)
    if path.is_file():
        return {printable_name(scan_name(path)): path}
    if not path.is_dir():
        msg = f"{path}: expected a scan or a folder with scans, found none: no such file or folder; check the path"
        raise VolumeError(msg)
    bids = find_bids_root(path) is not None
    wanted = "*_T2w.*" if bids and pattern == "*" else pattern
    files = [file for file in walk_files(path) if _is_lost(file) or (is_scan(file) and file.match(wanted))]
    files = [file for file in drop_headers(files) if not scan_name(file).endswith(_OUTPUTS)]
    if bids:
        files = [file for file in files if not set(NOT_RAW) & set(file.relative_to(path).parts)]
        files = [file for file in files if "_part-" in pattern or not NOT_MAGNITUDE.search(scan_name(file))]
    if not files:
        msg = f"{path}: expected a scan or a folder with scans that match {wanted!r}, found none; see --pattern"
        raise VolumeError(msg)
    files.sort()
    return dict(zip(_unique_names(path, files), files, strict=True))


def find_mask(place: Path, name: str, scan: Path) -> Path:
    """The brain mask of a scan.

    Args:
        place: The mask, or a folder that holds one called like the scan's outputs: ``<name>``, followed by nothing but
            words of ``MASK_WORDS``. ``pat1_2_mask`` and ``pat10_mask`` are not those of ``pat1``.
        name: What the scan's outputs are called.
        scan: The scan, which is not its own mask.

    Raises:
        VolumeError: The folder has none, or several.
    """
    if not place.is_dir():
        return place
    files = [file for file in sorted(place.iterdir()) if is_scan(file) and file.resolve() != scan.resolve()]
    masks = drop_headers([file for file in files if _is_mask_of(name, file)])
    if len(masks) > 1:  # a stripped scan beside its mask
        masks = [file for file in masks if "mask" in scan_name(file)[len(name) :].lower()]
    if len(masks) != 1:
        names = ", ".join(file.name for file in masks) or "none"
        expected = f"expected one brain mask {name}*.nii.gz for {scan.name}, such as {name}_mask.nii.gz"
        msg = f"{place}: {expected}, found {names}"
        raise VolumeError(msg)
    return masks[0]


def find_bids_root(path: Path) -> Path | None:
    """The BIDS dataset that a folder is, or that it is a subject's in; ``None`` for other folders."""
    path = path.resolve()
    if (path / BIDS).is_file():
        return path
    root = next((folder for folder in path.parents if (folder / BIDS).is_file()), None)
    if root is None or not any(part.startswith("sub-") for part in path.relative_to(root).parts):
        return None
    return root


def _is_lost(file: Path) -> bool:
    """Whether it is a folder that cannot be read, or a link to nothing that has a folder's name."""
    return file.is_dir() or (file.is_symlink() and not file.exists() and not file.suffix and not file.name.isupper())


def _is_mask_of(name: str, file: Path) -> bool:
    """Whether a file has a scan's name, and behind it at most words for masks."""
    stem = printable_name(scan_name(file))
    words = re.split(r"[-_. ]+", stem[len(name) :].lower())
    return stem.startswith(name) and words[0] == "" and set(words[1:]) <= MASK_WORDS


def _unique_names(root: Path, files: list[Path]) -> list[str]:
    """A name for the outputs of each file, different also where the file system does not tell a from A."""
    folders = [file.relative_to(root).parts[:-1] for file in files]
    names = [scan_name(file) for file in files]
    if _doubles(names):
        names = ["_".join([*above, name]) for above, name in zip(folders, names, strict=True)]
    doubles = _doubles(names)
    whole = ["__".join([*above, file.name]) for above, file in zip(folders, files, strict=True)]
    names = [
        printable_name(longer if name.casefold() in doubles else name)
        for name, longer in zip(names, whole, strict=True)
    ]
    doubles = _doubles(names)
    if doubles:
        first, other, *_ = (file for name, file in zip(names, files, strict=True) if name.casefold() in doubles)
        msg = f"{first}: expected scans whose outputs can be told apart, got {other} as well; rename one of them"
        raise VolumeError(msg)
    return names


def _doubles(names: list[str]) -> set[str]:
    return {name for name, count in Counter(name.casefold() for name in names).items() if count > 1}


def printable_name(name: str) -> str:
    """A file name as text: bytes that are no UTF-8 as ``_xE9``, what would steer a terminal as ``_x1B``."""
    return "".join(
        f"_x{ord(sign) & 0xFF:02X}" if "\udc80" <= sign <= "\udcff" or unicodedata.category(sign) == "Cc" else sign
        for sign in name
    )
