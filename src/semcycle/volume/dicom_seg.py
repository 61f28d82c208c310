"""DICOM SEG: a lesion mask as a segmentation of the series that a scan was converted from, for PACS and viewers.

It refers to the study, its frame of reference and every image by their numbers (UID). Name, number, birth date and sex
of the patient are left empty, for outputs name nobody, unless they are asked for: an archive files by them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import DicomError, EmptyMaskError
from semcycle.files import VERSION, write_bytes
from semcycle.types import VoxelMask
from semcycle.volume import Volume
from semcycle.volume.dicom import Series, count_frames, plane_of, read_images

NAMING = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("ReferringPhysicianName", "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "StudyDescription"),
)
"""Tags of the source that are left empty where the patient is not kept; the standard lets them be."""


def write_segmentation(
    path: Path, mask: VoxelMask, volume: Volume, series: Series, model: str, *, keep_patient: bool = False
) -> Path:
    """Write a mask as DICOM SEG on the images of its series.

    Args:
        path: ``.dcm``.
        mask: ``(I, J, K)``, not empty: the standard knows no segmentation of nothing.
        volume: The scan that the series was converted to.
        series: Of :func:`semcycle.volume.dicom.list_series`.
        model: Name and version of what made the mask.
        keep_patient: Copy who the patient is from the images, as archives need it to file the segmentation.

    Raises:
        EmptyMaskError: There is nothing to write.
        DicomError: The extra is not installed.
    """
    hd, codes = _highdicom()
    images = read_images(series)
    frames = frames_of(mask, volume, images)
    if not frames.any():
        msg = f"{path}: expected a lesion mask with voxels for a DICOM SEG, got an empty one; there is nothing to write"
        raise EmptyMaskError(msg)
    for image in () if keep_patient else images:
        for tag in NAMING:
            if tag in image:
                setattr(image, tag, None)
    family = codes.DCM.ArtificialIntelligence
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="anomaly",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Lesion,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(name="semcycle", version=VERSION, family=family),
    )
    made = hd.seg.Segmentation(
        source_images=images,
        pixel_array=frames.astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=hd.UID(),
        series_number=int(series.label.split(".")[0]) + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="semcycle",
        manufacturer_model_name=model[:64],
        software_versions=VERSION,
        device_serial_number="0",
        content_description="for research only",
        series_description="semcycle anomaly, for research only",
    )
    content = io.BytesIO()
    made.save_as(content)
    write_bytes(path, content.getvalue())
    return path


def frames_of(mask: VoxelMask, volume: Volume, images: list[Any]) -> NDArray[np.bool_]:
    """Bring a mask to the pixels of the images it was converted from.

    Args:
        mask: ``(I, J, K)``.
        volume: Whose grid it is on.
        images: DICOM data sets of single images, or one of many frames.

    Returns:
        ``(N, rows, columns)``, False beside the scan.
    """
    to_voxel = np.linalg.inv(volume.affine)
    frames = []
    for image in images:
        rows, columns = np.meshgrid(np.arange(int(image.Rows)), np.arange(int(image.Columns)), indexing="ij")
        pixels = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)]).reshape(4, -1)
        for frame in range(count_frames(image)):
            index = np.rint((to_voxel @ plane_of(image, frame) @ pixels)[:3]).astype(int)
            inside = ((index >= 0) & (index < np.array(mask.shape)[:, None])).all(axis=0)
            found = np.zeros(index.shape[1], bool)
            found[inside] = mask[tuple(index[:, inside])]
            frames.append(found.reshape(rows.shape))
    return np.stack(frames)


def _highdicom() -> tuple[Any, Any]:
    try:
        import highdicom
        from pydicom.sr.codedict import codes
    except ImportError as error:
        msg = "expected highdicom to write a DICOM SEG, found none; pip install 'semcycle[dicom]'"
        raise DicomError(msg) from error
    return highdicom, codes
