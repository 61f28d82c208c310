"""A DICOM folder as a scan to predict: the series that is its T2 scan, as NIfTI beside the outputs, and a SEG back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from semcycle.errors import DicomError
from semcycle.files import open_scratch
from semcycle.prediction.scans import printable_name
from semcycle.volume import Volume, load_mask, load_volume
from semcycle.volume.dicom import Series, choose_series, convert_series, list_series
from semcycle.volume.dicom_seg import write_segmentation

INPUT = "_input.nii.gz"
"""Ending of the converted scan: maps and mask lie on its voxels."""
SEGMENTATION = "_seg.dcm"


@dataclass(frozen=True)
class DicomScan:
    """A series that was converted.

    Attributes:
        name: What its outputs are called: the folder's name.
        path: The NIfTI.
        series: What was converted.
        choice: Which series it is, and why, in words.
    """

    name: str
    path: Path
    series: Series
    choice: str


def convert_folder(folder: Path, wanted: str, out: Path) -> DicomScan:
    """Choose the T2 series of a DICOM folder, and write it as ``<name>_input.nii.gz`` into ``out``.

    Args:
        folder: Of a series or a study.
        wanted: Label of a series; empty for the only one that is T2 weighted.
        out: Folder of the predictions; made where it is not there.

    Raises:
        DicomError: No series, or several, are T2 weighted, or the series cannot be converted.
    """
    series, why = choose_series(list_series(folder), wanted, folder)
    place = folder.resolve()
    name = printable_name(place.name if place.is_dir() else place.stem)
    path = out / f"{name}{INPUT}"
    convert_series(series, path)
    return DicomScan(name, path, series, f"{series.describe()} ({why})")


def load_series(folder: Path, wanted: str = "") -> Volume:
    """The T2 series of a DICOM folder as a scan in memory, whose ``source`` says which series it is and why.

    Args:
        folder: Of a series or a study, or a single file.
        wanted: Label of a series; empty for the only one that is T2 weighted.

    Raises:
        DicomError: No series, or several, are T2 weighted, or the series cannot be converted.
    """
    with open_scratch("semcycle-series") as scratch:
        scan = convert_folder(folder, wanted, scratch)
        return replace(load_volume(scan.path), source=f"{folder}, series {scan.choice}")


def write_dicom_seg(scan: DicomScan, out: Path, model: str, *, keep_patient: bool = False) -> Path:
    """Write ``<name>_seg.dcm`` of the lesion mask that was predicted into ``out``.

    Args:
        scan: The series that was predicted.
        out: Folder of the predictions.
        model: Name of what made the mask.
        keep_patient: Copy who the patient is from the images.

    Raises:
        DicomError: There is no mask, or nothing in it.
    """
    mask = out / f"{scan.name}_mask.nii.gz"
    if not mask.is_file():
        msg = f"{mask}: expected a lesion mask for --dicom-seg, found none; predict with a threshold"
        raise DicomError(msg)
    volume = load_volume(scan.path)
    path, lesions = out / f"{scan.name}{SEGMENTATION}", load_mask(mask, volume)
    return write_segmentation(path, lesions, volume, scan.series, model, keep_patient=keep_patient)
