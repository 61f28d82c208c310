"""DICOM series made for the tests with pydicom: MR images of an oblique stack, in any order, with or without gaps."""

import numpy as np

PATIENT = "Zywiecka^Quintessa"


def write_series(
    folder,
    data,
    affine,
    *,
    number=1,
    description="t2_tse_tra",
    echo=96.0,
    repetition=5000.0,
    sequence="SE",
    kind=("ORIGINAL", "PRIMARY", "M"),
    inversion=None,
    leave_out=(),
    study="1.2.826.0.1.3680043.8.498.1",
    uid=None,
    shuffle=True,
):
    """Write slices of ``(I, J, K)`` as MR images.

    Args:
        folder: For the files.
        data: ``(I, J, K)``: columns, rows, slices.
        affine: ``(4, 4)`` voxel -> mm, RAS+.
        leave_out: Slices that are missing.
    """
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    uid = uid or generate_uid(entropy_srcs=[study, str(number), description])
    slices = [k for k in range(data.shape[2]) if k not in leave_out]
    names = np.random.default_rng(number).permutation(len(slices)) if shuffle else np.arange(len(slices))
    for place, k in enumerate(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(k), str(echo)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = study, uid
        image.FrameOfReferenceUID = generate_uid(entropy_srcs=[study, "frame"])
        image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = (
            PATIENT,
            "SECRET77",
            "19500101",
            "F",
        )
        image.AccessionNumber, image.StudyID = "ACCESS4711", "1"
        image.StudyDate = image.SeriesDate = image.ContentDate = "20200101"
        image.StudyTime = image.SeriesTime = image.ContentTime = "120000"
        image.Modality, image.Manufacturer, image.ReferringPhysicianName = "MR", "nobody", "Referrer^Gregory"
        image.SeriesNumber, image.SeriesDescription = number, description
        image.ImageType, image.ScanningSequence, image.SequenceVariant = list(kind), sequence, "SK"
        image.ScanOptions, image.MRAcquisitionType, image.EchoTrainLength = "", "2D", 16
        image.EchoTime, image.RepetitionTime = echo, repetition
        if inversion is not None:
            image.InversionTime = inversion
        image.InstanceNumber = int(names[place]) + 1
        image.SliceThickness = float(spacing[2])
        image.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        across, down = to_lps[:3, 0] / spacing[0], to_lps[:3, 1] / spacing[1]
        image.ImageOrientationPatient = [float(f"{part:.10f}") for part in (*across, *down)]
        image.ImagePositionPatient = [float(f"{part:.8f}") for part in (to_lps @ [0, 0, k, 1])[:3]]
        image.PositionReferenceIndicator = ""
        image.Rows, image.Columns = data.shape[1], data.shape[0]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated = image.BitsStored = 16
        image.HighBit, image.PixelRepresentation = 15, 0
        image.PixelData = np.ascontiguousarray(data[:, :, k].T.astype("<u2")).tobytes()
        image.save_as(
            folder / f"IM{int(names[place]):04d}_{number}_{echo:g}_{description.replace(' ', '')}",
            enforce_file_format=True,
        )
    return folder


def oblique(spacing, degrees=12.0):
    """An affine that is turned about two axes, right-handed as scanners make them."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    turn = Rotation.from_euler("xz", [degrees, degrees / 2], degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.diag([-1.0, -1.0, 1.0]) @ np.diag(spacing)
    affine[:3, 3] = (80, 90, -50)
    return affine


def write_enhanced(path, data, affine, *, echo=95.0, repetition=4500.0):
    """Write ``(I, J, K)`` as one enhanced MR image of K frames."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian

    def group(**tags):
        part = Dataset()
        for tag, value in tags.items():
            setattr(part, tag, value)
        return [part]

    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedMRImageStorage, "1.2.3.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "1.2.3", "1.2.3.4", "1.2.3.5"
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = PATIENT, "SECRET77", "", ""
    image.AccessionNumber, image.StudyID, image.ReferringPhysicianName = "", "1", ""
    image.StudyDate = image.SeriesDate = image.ContentDate = "20200101"
    image.StudyTime = image.SeriesTime = image.ContentTime = "120000"
    image.Modality, image.Manufacturer, image.SeriesDescription = "MR", "nobody", "T2 TSE ax"
    image.SeriesNumber, image.InstanceNumber, image.ImageType = 4, 1, ["ORIGINAL", "PRIMARY", "M", "NONE"]
    image.NumberOfFrames, image.Rows, image.Columns = data.shape[2], data.shape[1], data.shape[0]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 0
    turn = [float(f"{part:.10f}") for part in (*(to_lps[:3, 0] / spacing[0]), *(to_lps[:3, 1] / spacing[1]))]
    sizes = {"PixelSpacing": [float(spacing[1]), float(spacing[0])], "SliceThickness": float(spacing[2])}
    image.SharedFunctionalGroupsSequence = group(
        MRTimingAndRelatedParametersSequence=group(RepetitionTime=repetition, EchoTrainLength=15, FlipAngle=90.0),
        MREchoSequence=group(EffectiveEchoTime=echo),
        PixelMeasuresSequence=group(**sizes),
        PlaneOrientationSequence=group(ImageOrientationPatient=turn),
    )
    frames = []
    for k in range(data.shape[2]):
        place = [float(f"{part:.8f}") for part in (to_lps @ [0, 0, k, 1])[:3]]
        index = group(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[1, k + 1])
        frames += group(FrameContentSequence=index, PlanePositionSequence=group(ImagePositionPatient=place))
    image.PerFrameFunctionalGroupsSequence = frames
    image.DimensionOrganizationSequence = group(DimensionOrganizationUID="1.2.3.6")
    pointer = {"DimensionOrganizationUID": "1.2.3.6", "FunctionalGroupPointer": 0x00209111}
    image.DimensionIndexSequence = [
        *group(**pointer, DimensionIndexPointer=0x00209056), *group(**pointer, DimensionIndexPointer=0x00209057)
    ]  # fmt: skip
    image.PixelData = np.ascontiguousarray(data.transpose(2, 1, 0).astype("<u2")).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
