"""DICOM in: which series of a study is the T2 weighted one, by its tags, and its conversion to NIfTI by dcm2niix.

A series is taken when it is MR, one stack of slices, and its tags say T2: a spin echo with long echo and repetition
times, no inversion, diffusion, phase or localizer. Two such series are a question to the user, never a guess. Texts
that hold the patient's name or number are not shown.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import DicomError
from semcycle.files import open_scratch
from semcycle.types import Affine
from semcycle.volume import Volume, load_volume, save_volume

MIN_ECHO_MS, MIN_REPETITION_MS = 60.0, 1500.0
"""Shorter times are no T2 weighting; chosen wide, as protocols differ."""
MIN_SLICES = 8
"""Fewer images are no scan of a brain."""
_MR, _ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_NOT_T2 = {
    "an inversion recovery (FLAIR)": r"flair|tirm|stir|dark.?fluid|inversion",
    "diffusion": r"dwi|diff|dti|adc|trace|ep2d|epi",
    "T1 or PD weighted": r"\bt1|mprage|\bpd\b|\bpdw|proton",
    "a T2* sequence": r"t2\*|t2.?star|swi\b|suscept|\bgre\b|hemo|flash|medic",
    "a localizer": r"localizer|localiser|scout|survey",
    "perfusion, flow or spectroscopy": r"perf|\bdsc|\bdce|\basl|\btof|angio|\bmra\b|spectro|fmri|bold",
    "of another part of the body": r"spine|cerv|thorac|lumbar|neck|orbit",
}
_HEADER = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("ProtocolName", "PatientName", "PatientID", "Modality", "ImageType", "ScanningSequence", "SequenceVariant"),
    *("EchoTime", "RepetitionTime", "InversionTime", "InstanceNumber", "ImagePositionPatient", "NumberOfFrames"),
    *("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "SliceThickness", "BodyPartExamined"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)


@dataclass(frozen=True)
class Series:
    """Images of one series and echo, in the order of their places.

    Attributes:
        label: What ``--series`` takes: the number of the series, with ``.1``, ``.2`` where several share it.
        description: Its name, without the patient's.
        echo_ms: Echo time, ``nan`` where it is not said.
        repetition_ms: Repetition time, likewise.
        images: Files, from the first slice to the last; one of an enhanced image.
        slices: How many there are.
        objection: Why it is not taken for a T2 scan; empty for one that is.
        damage: Why it cannot be converted, such as a missing slice; empty for a whole one.
    """

    label: str
    description: str
    echo_ms: float
    repetition_ms: float
    images: tuple[Path, ...]
    slices: int
    objection: str = ""
    damage: str = ""

    def describe(self) -> str:
        """In words, for a list of series."""
        times = f"TE {self.echo_ms:g} ms, TR {self.repetition_ms:g} ms"
        return f"{self.label}: {self.description or 'no description'}, {times}, {self.slices} images"


def holds_dicom(folder: Path) -> bool:
    """Whether a folder, or one below it, holds a DICOM file; looks no further than the first few of each folder."""
    seen: dict[Path, int] = defaultdict(int)
    for path in _files(folder):
        seen[path.parent] += 1
        if seen[path.parent] <= 5 and is_dicom(path):
            return True
    return False


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM files do."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def list_series(folder: Path) -> list[Series]:
    """The MR series below a folder, each with what speaks against it.

    Raises:
        DicomError: There is no MR image, or the extra is not installed.
    """
    headers = defaultdict[tuple[str, float], list[tuple[Path, Any]]](list)
    for path in _files(folder):
        if is_dicom(path):
            header = _read_header(path)
            if header is not None and str(header.get("SOPClassUID")) in (_MR, _ENHANCED):
                headers[str(header.get("SeriesInstanceUID")), _times(header)[0]].append((path, header))
    if not headers:
        msg = f"{folder}: expected MR images in DICOM, found none; give the folder of a series or a study"
        raise DicomError(msg)
    groups = sorted(headers.values(), key=lambda group: _rank(group[0][1]))
    series = [_describe(group) for group in groups]
    labels = [one.label for one in series]
    return [
        replace(one, label=f"{one.label}.{labels[: place + 1].count(one.label)}")
        if labels.count(one.label) > 1
        else one
        for place, one in enumerate(series)
    ]


def choose_series(series: Sequence[Series], wanted: str, folder: Path) -> tuple[Series, str]:
    """The series to predict, and why it is that one.

    Args:
        series: Of :func:`list_series`.
        wanted: Label of ``--series``; empty takes the only one that is T2 weighted.
        folder: For messages.

    Raises:
        DicomError: No series, or several, are T2 weighted, none has the label, or slices are missing.
    """
    listed = "; ".join(one.describe() + (f" ({one.objection})" if one.objection else "") for one in series)
    if wanted:
        matching, why = [one for one in series if one.label == wanted], "chosen with --series"
        if not matching:
            msg = f"{folder}: expected a series of this folder with --series, got {wanted!r}; there are {listed}"
            raise DicomError(msg)
    else:
        matching = [one for one in series if not one.objection]
        why = f"the only T2 weighted one of {len(series)} series" if len(series) > 1 else "the only series"
    if not matching:
        msg = f"{folder}: expected a T2 weighted series, found none; name one with --series LABEL; there are {listed}"
        raise DicomError(msg)
    if len(matching) > 1:
        choices = " or ".join(f"--series {one.label}" for one in matching)
        plausible = "; ".join(one.describe() for one in matching)
        msg = f"{folder}: expected one T2 weighted series, found {len(matching)} ({plausible}); say {choices}"
        raise DicomError(msg)
    (chosen,) = matching
    if chosen.damage:
        msg = f"{folder}: series {chosen.describe()}: expected a whole stack of slices, got {chosen.damage}"
        raise DicomError(msg)
    return chosen, why


def convert_series(series: Series, path: Path) -> Volume:
    """Convert a series with dcm2niix, check where its voxels lie, and write it without the texts of its header.

    Args:
        series: A whole one.
        path: ``.nii.gz`` to write.

    Returns:
        The scan, as it was written.

    Raises:
        DicomError: dcm2niix fails, makes several images, or puts them elsewhere than the tags say.
    """
    with open_scratch("semcycle-dicom") as folder:
        source, made = folder / "dicom", folder / "nifti"
        source.mkdir()
        made.mkdir()
        for number, image in enumerate(series.images):
            shutil.copyfile(image, source / f"{number:06d}.dcm")
        words = [str(_converter()), "-b", "n", "-z", "n", "-m", "n", "-f", "scan", "-o", str(made), str(source)]
        answer = subprocess.run(words, capture_output=True, check=False)
        files = sorted(made.glob("*.nii"))
        if len(files) != 1:
            found = f"{len(files)} images" if files else f"none (dcm2niix exit code {answer.returncode})"
            msg = f"series {series.describe()}: expected one image from dcm2niix, got {found}; convert it yourself"
            raise DicomError(msg)
        volume = load_volume(files[0])
    first = _plane(series, 0)
    place = np.linalg.inv(volume.affine) @ first[:, 3]
    corner = np.minimum(np.abs(place[:3]), np.abs(place[:3] - np.array(volume.shape) + 1)).max()
    if corner > 0.1:
        text = "expected voxels where the tags put them, got some elsewhere; convert it yourself"
        msg = f"series {series.describe()}: {text}"
        raise DicomError(msg)
    save_volume(path, volume.data, volume, description="converted from DICOM by dcm2niix")
    return replace(load_volume(path), source=str(path))


def plane_of(header: Any, frame: int = 0) -> Affine:
    """Where an image's pixels lie.

    Args:
        header: A DICOM data set.
        frame: Of a multi-frame image.

    Returns:
        ``(4, 4)`` column, row, 0, 1 -> mm, RAS+; the third column is the unit normal.
    """
    orientation, position, spacing = _geometry(header, frame)
    across, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    plane = np.eye(4)
    plane[:3, 0], plane[:3, 1] = across * spacing[1], down * spacing[0]
    plane[:3, 2], plane[:3, 3] = np.cross(across, down), position
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ plane


def read_images(series: Series) -> list[Any]:
    """The series' DICOM data sets with their pixels."""
    pydicom = _pydicom()
    return [pydicom.dcmread(path) for path in series.images]


def _plane(series: Series, index: int) -> Affine:
    header = _pydicom().dcmread(series.images[index], stop_before_pixels=True)
    return plane_of(header)


def _describe(group: list[tuple[Path, Any]]) -> Series:
    """A series of images with equal echo time."""
    first = group[0][1]
    echo, repetition = _times(first)
    damage, order = _check_stack(group)
    described = Series(
        label=str(first.get("SeriesNumber") or 0),
        description=_name(first),
        echo_ms=echo,
        repetition_ms=repetition,
        images=tuple(group[place][0] for place in order),
        slices=sum(count_frames(header) for _, header in group),
        damage=damage,
    )
    return replace(described, objection=_object(first, described))


def _object(header: Any, series: Series) -> str:
    """Why a series is not taken for a T2 scan of the head."""
    kind = {str(word).upper() for word in header.get("ImageType") or ()}
    sequence = header.get("ScanningSequence") or ()
    sequence = {sequence} if isinstance(sequence, str) else {str(word) for word in sequence}
    text = f"{header.get('SeriesDescription') or ''} {header.get('ProtocolName') or ''}".lower()
    if kind & {"LOCALIZER"}:
        return "a localizer"
    if kind & {"P", "PHASE", "REAL", "IMAGINARY", "R", "I", "ADC", "DIFFUSION", "PHASE MAP"}:
        return "no magnitude image"
    for what, pattern in _NOT_T2.items():
        if re.search(pattern, text):
            return what
    if sequence and "SE" not in sequence:
        return "no spin echo"
    if "IR" in sequence and float(header.get("InversionTime") or 0) > 0:
        return "an inversion recovery (FLAIR)"
    if np.isnan(series.echo_ms) or np.isnan(series.repetition_ms):
        return "echo or repetition time are not in its tags"
    if series.echo_ms < MIN_ECHO_MS or series.repetition_ms < MIN_REPETITION_MS:
        return f"no T2 weighting: TE below {MIN_ECHO_MS:g} or TR below {MIN_REPETITION_MS:g} ms"
    if series.slices < MIN_SLICES:
        return f"fewer than {MIN_SLICES} slices"
    if series.damage.startswith("planes"):
        return "no stack of parallel slices"
    return ""


def _check_stack(group: list[tuple[Path, Any]]) -> tuple[str, list[int]]:
    """What keeps images from being one stack of evenly spaced slices, and their order by place."""
    frames = [(place, frame) for place, (_, header) in enumerate(group) for frame in range(count_frames(header))]
    try:
        planes = np.stack([plane_of(group[place][1], frame) for place, frame in frames])
    except (TypeError, ValueError, AttributeError, IndexError):
        return "planes without a place or an orientation; export it again", list(range(len(group)))
    if np.abs(planes[:, :3, :3] - planes[0, :3, :3]).max() > 1e-3:
        return "planes of several orientations or pixel sizes; name another series", list(range(len(group)))
    heights = planes[:, :3, 3] @ planes[0, :3, 2]
    order = list(dict.fromkeys(frames[place][0] for place in np.argsort(heights, kind="stable")))
    return _check_heights(np.sort(heights)), order


def _check_heights(heights: NDArray[np.floating]) -> str:
    if len(heights) < 2:
        return "a single image"
    steps = np.diff(heights)
    if steps.min() < 0.01:
        return f"{int((steps < 0.01).sum()) + 1} images at one place (several echoes or times); export them apart"
    usual = float(np.median(steps))
    if steps.max() > 1.5 * usual:
        gap = int(steps.argmax())
        missing = round(float(steps[gap]) / usual) - 1
        where = f"a gap of {steps[gap]:.1f} mm after slice {gap + 1} (elsewhere {usual:.1f})"
        return f"{where}: {missing} missing; export it again"
    if steps.max() - steps.min() > 0.1 * usual:
        return f"slices {steps.min():.2f} to {steps.max():.2f} mm apart; export it again"
    return ""


def _geometry(header: Any, frame: int) -> tuple[Any, Any, Any]:
    """Orientation, position and pixel spacing of a frame."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return header.ImageOrientationPatient, header.ImagePositionPatient, header.PixelSpacing
    own, shared = header.PerFrameFunctionalGroupsSequence[frame], header.SharedFunctionalGroupsSequence[0]

    def find(group: str) -> Any:
        return (own if group in own else shared)[group].value[0]

    return (
        find("PlaneOrientationSequence").ImageOrientationPatient,
        find("PlanePositionSequence").ImagePositionPatient,
        find("PixelMeasuresSequence").PixelSpacing,
    )


def count_frames(header: Any) -> int:
    """Slices that an image holds: 1, or the frames of an enhanced one."""
    return len(header.PerFrameFunctionalGroupsSequence) if "PerFrameFunctionalGroupsSequence" in header else 1


def _times(header: Any) -> tuple[float, float]:
    """Echo and repetition time in ms, ``nan`` where they are not said."""
    echo, repetition = header.get("EchoTime"), header.get("RepetitionTime")
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for part in header.get(groups) or ():
            for timing in part.get("MRTimingAndRelatedParametersSequence") or ():
                repetition = repetition or timing.get("RepetitionTime")
            for timing in part.get("MREchoSequence") or ():
                echo = echo or timing.get("EffectiveEchoTime")
            break
    nan = float("nan")
    return nan if echo is None else round(float(echo), 2), nan if repetition is None else round(float(repetition), 2)


def _rank(header: Any) -> tuple[int, float]:
    """The order of series: their numbers, then their echoes."""
    return int(header.get("SeriesNumber") or 0), np.nan_to_num(_times(header)[0])


def _name(header: Any) -> str:
    """Description of a series; none where it holds a part of the patient's name or number."""
    text = " ".join(str(header.get("SeriesDescription") or header.get("ProtocolName") or "").split())
    secrets = re.split(r"[\^=\s,]+", f"{header.get('PatientName') or ''} {header.get('PatientID') or ''}".lower())
    return "" if any(len(word) > 2 and word in text.lower() for word in secrets) else text


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith(".") and path.name != "DICOMDIR":
            yield path


def _read_header(path: Path) -> Any:
    """The tags of an image; ``None`` for a file that is damaged."""
    pydicom = _pydicom()
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_HEADER))
    except (pydicom.errors.InvalidDicomError, OSError, EOFError, ValueError, KeyError):
        return None


def _pydicom() -> Any:
    try:
        import pydicom
    except ImportError as error:
        msg = "expected pydicom to read DICOM, found none; pip install 'semcycle[dicom]'"
        raise DicomError(msg) from error
    return pydicom


def _converter() -> Path:
    try:
        import dcm2niix
    except ImportError as error:
        msg = "expected dcm2niix to convert DICOM, found none; pip install 'semcycle[dicom]'"
        raise DicomError(msg) from error
    return Path(dcm2niix.bin)
