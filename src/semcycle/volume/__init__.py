"""Volume: a 3-D scan with its affine. The only room that touches nibabel."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from semcycle.errors import GeometryError, VolumeError
from semcycle.files import write_chunks
from semcycle.types import Affine, VoxelArray, VoxelMask
from semcycle.volume.masks import fades_out
from semcycle.volume.padding import fill_padding
from semcycle.volume.reading import read_image, unpack_image
from semcycle.volume.slabs import Slabs, as_slabs, cut_slabs

MAX_VALUE = 1e30
_GUESSED = "the header names no orientation ({}); left, right, front and back are a guess"
SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr", ".mnc", ".mnc.gz")


@dataclass(frozen=True)
class Volume:
    """A scan: ``(I, J, K)`` float32 values and where they lie.

    Attributes:
        data: ``(I, J, K)``, finite.
        affine: ``(4, 4)`` voxel index -> mm, RAS+, invertible.
        source: File it came from, for messages and run records.
        header: The source's NIfTI header; outputs on the same grid keep its codes and units.
        warnings: What is doubtful about the file, for run records.
    """

    data: VoxelArray
    affine: Affine
    source: str = "<memory>"
    header: Any = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Voxel size in mm along each axis."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000)


def scan_name(path: Path) -> str:
    """File name without its image suffix: ``a/b_t2.nii.gz`` -> ``b_t2``."""
    name = path.name
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return path.stem


def is_scan(path: Path) -> bool:
    """Whether the file's name is that of a readable image format."""
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")


def image_files(path: Path) -> list[Path]:
    """The files that an image consists of: itself, or those of its pair of header and voxels, with SPM's ``.mat``."""
    if path.suffix.lower() not in (".hdr", ".img"):
        return [path]
    endings = [ending for suffix in (".hdr", ".img", ".mat") for ending in (suffix, suffix.upper())]
    return [file for ending in endings if (file := path.with_suffix(ending)).is_file()] or [path]


def drop_headers(files: Sequence[Path]) -> list[Path]:
    """Without the headers of images that are listed as well: a pair of .hdr and .img is one scan."""
    listed = set(files)
    return [file for file in files if file.suffix.lower() != ".hdr" or listed.isdisjoint({*image_files(file)} - {file})]


def load_volume(path: Path) -> Volume:
    """Read a scan and refuse what cannot be worked with.

    Args:
        path: NIfTI (``.nii``, ``.nii.gz``, ``.img/.hdr``), MGH/MGZ or MINC file.

    Raises:
        VolumeError: Missing, truncated or unreadable file; not 3-D; colour or complex data; NaN or Inf;
            one constant value.
        GeometryError: The affine is singular or not finite.

    Padding around the field of view is put to the background, with a warning.
    """
    return _check_scan(load_map(path))


def load_map(path: Path) -> Volume:
    """Read a mask or map whose values may be constant, NaN or Inf. Raises as :func:`load_volume` otherwise."""
    data, affine, header = read_image(path)
    return Volume(data, affine, str(path), header, _doubts(header, affine, data.shape))


def load_like(path: Path, like: Volume, what: str, *, finite: bool = True) -> VoxelArray:
    """Read a mask or map that must share the grid of a scan.

    Args:
        path: The mask or map.
        like: The scan it belongs to.
        what: What it is, for the message (``"lesion mask"``).
        finite: Refuse NaN and Inf.

    Returns:
        ``(I, J, K)`` float32.

    Raises:
        VolumeError: It cannot be read, or holds NaN or Inf that are refused.
        GeometryError: Its shape or affine (beyond 0.1 voxel at the corners) differs from the scan's.
    """
    data, affine, _ = read_image(path)
    if data.shape != like.shape:
        msg = (
            f"{path}: expected the {what} on the grid of {like.source} {like.shape}, got {data.shape}; "
            "resample it to the scan"
        )
        raise GeometryError(msg)
    offset = _corner_distance(affine, like.affine, like.shape)
    if offset > 0.1 * min(like.spacing):
        msg = (
            f"{path}: expected the {what} on the affine of {like.source}, got one that is off by up to "
            f"{offset:.1f} mm; resample it to the scan"
        )
        raise GeometryError(msg)
    if finite and not np.isfinite(data).all():
        msg = f"{path}: expected finite values in the {what}, got NaN or Inf; set them to 0"
        raise VolumeError(msg)
    return data


def load_mask(path: Path, like: Volume, what: str = "mask") -> VoxelMask:
    """Read a mask on the grid of a scan: 0 is outside, 1 or any other label inside. Raises as :func:`load_like`.

    Raises:
        VolumeError: Its values are no labels: interpolated, signed, or a probability map.
    """
    return labels_inside(load_like(path, like, what), str(path), what)


def labels_inside(data: VoxelArray, source: str, what: str) -> VoxelMask:
    """Where an array of labels is not 0.

    Args:
        data: ``(I, J, K)`` whole numbers from 0 (within 0.01, as scaled files hold them).
        source: For the message.
        what: What it is, for the message.

    Raises:
        VolumeError: It holds fractions or negative values, or numbers that fade towards 0: per cent, or 255 for 1.
    """
    labels = np.rint(data)
    inside = labels != 0
    np.subtract(data, labels, out=labels)  # in place: scans of 0.5 mm are large
    whole = data.min() >= -0.01 and max(labels.max(), -labels.min()) <= 0.01
    if not whole or fades_out(data):
        how = "that fade towards 0, as percentages do" if whole else "with fractions or below 0"
        msg = (
            f"{source}: expected a {what} of 0 outside and 1 (or labels) inside, got values from {data.min():g} to "
            f"{data.max():g} {how}; cut it to 0 and 1 first (interpolated masks at half of what stands for 1)"
        )
        raise VolumeError(msg)
    return inside


def save_volume(
    path: Path, data: NDArray[Any] | Slabs, like: Volume | Affine, *, description: str = "", slope: float = 1
) -> None:
    """Write an array as NIfTI on the grid of a scan, atomically and with reproducible bytes.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        data: ``(I, J, K)`` or ``(I, J, K, C)``, as a whole or made slab by slab; bool is written as uint8, floats as
            float32.
        like: The scan whose affine, units and codes are taken over, or an affine.
        description: Up to 79 characters for the header.
        slope: What readers multiply the stored numbers with (1/255 for probabilities kept as uint8).
    """
    slabs = as_slabs(data) if isinstance(data, np.ndarray) else data
    dtype = slabs.dtype
    if dtype == np.bool_:
        dtype = np.dtype(np.uint8)
    elif np.issubdtype(dtype, np.floating):
        dtype = np.dtype(np.float32)
    affine, known = (like.affine, like.header) if isinstance(like, Volume) else (like, None)
    header = nib.Nifti1Header.from_header(known) if isinstance(known, nib.Nifti1Header) else None
    image = nib.Nifti1Image(np.broadcast_to(dtype.type(0), slabs.shape), affine, header)
    image.header.set_data_dtype(dtype)
    image.header.set_slope_inter(slope, 0)
    image.header["cal_min"] = image.header["cal_max"] = 0
    for text in ("data_type", "db_name", "aux_file", "intent_name"):  # a scanner's texts may name a patient
        image.header[text] = b""
    image.header.extensions.clear()
    image.header["descrip"] = description.encode()[:79]
    if header is None:
        image.header.set_xyzt_units("mm")
    content = _nifti_bytes(image.header, slabs)
    write_chunks(path, _pack(content, dtype) if path.name.endswith(".gz") else content)


def _nifti_bytes(header: Any, slabs: Slabs) -> Iterator[bytes]:
    """A file of one NIfTI image, part by part; voxels are stored with the first axis the fastest."""
    stream = io.BytesIO()
    header.write_to(stream)
    yield stream.getvalue().ljust(header.get_data_offset(), b"\0")
    for channel in range(int(np.prod(slabs.shape[3:]))):
        for part in cut_slabs(slabs.shape):
            yield slabs.make(part, channel).astype(header.get_data_dtype(), copy=False).tobytes(order="F")


def _pack(content: Iterable[bytes], dtype: np.dtype[Any]) -> Iterator[bytes]:
    """A gzip stream without a time, as the bytes come.

    In floats, masks and probabilities of a brain nothing repeats but the background: looking for runs alone takes half
    the time, for files that are 3 % smaller.
    """
    runs = dtype.kind == "f" or dtype.itemsize == 1
    packer = zlib.compressobj(3, wbits=31, strategy=zlib.Z_RLE if runs else zlib.Z_DEFAULT_STRATEGY)
    for chunk in content:
        yield packer.compress(chunk)
    yield packer.flush()


def make_volume(data: NDArray[Any], affine: Affine, source: str = "<memory>") -> Volume:
    """Wrap an array ``(I, J, K)`` made in memory."""
    return Volume(np.ascontiguousarray(data, np.float32), np.asarray(affine, float), source)


def from_nibabel(image: Any, like: Volume | None = None) -> Volume:
    """Take over a ``nibabel`` image, or an array on the grid of ``like``, with the checks of :func:`load_volume`.

    Raises:
        VolumeError: It is neither, not 3-D, not finite, or (without ``like``) one constant value.
        GeometryError: The affine is singular, or the grid is not that of ``like``.
    """
    if isinstance(image, np.ndarray) and like is not None:
        image = as_nibabel(image, like.affine)
    if not hasattr(image, "dataobj"):
        msg = (
            f"expected a path or a nibabel image, got {type(image).__name__}; wrap arrays in "
            "nibabel.Nifti1Image(array, affine)"
        )
        raise VolumeError(msg)
    data, affine, header = unpack_image(image, "<image>")
    made = _check_scan(
        Volume(data, affine, "<image>", header, _doubts(header, affine, data.shape)), constant=like is not None
    )
    if like is not None and (
        data.shape != like.shape or _corner_distance(affine, like.affine, like.shape) > 0.1 * min(like.spacing)
    ):
        msg = f"expected the mask on the scan's grid {like.shape}, got {data.shape} or another affine; resample it"
        raise GeometryError(msg)
    return made


def as_nibabel(data: NDArray[Any], affine: Affine) -> Any:
    """Wrap an array for libraries that want nibabel's ``Nifti1Image``."""
    return nib.Nifti1Image(np.asarray(data, np.float32), np.asarray(affine, float))


def write_arrays(volumes: Mapping[Path, NDArray[Any]], affine: Affine) -> None:
    """Write several arrays of one grid as NIfTI; dtypes are kept (bool becomes uint8)."""
    for path, data in volumes.items():
        save_volume(path, data, affine)


def _check_scan(volume: Volume, *, constant: bool = False) -> Volume:
    """Refuse what is not finite, or (unless ``constant``, as masks may be) has one value; padding is filled."""
    data, source = volume.data, volume.source
    low, high = data.min(), data.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        count = int(np.size(data) - np.isfinite(data).sum())
        msg = f"{source}: expected finite intensities, got {count} NaN or Inf voxels; set them to 0 or export again"
        raise VolumeError(msg)
    if max(-low, high) > MAX_VALUE:
        msg = (
            f"{source}: expected intensities of a scan, got {low:g} to {high:g}: a damaged header or file; export it "
            "again"
        )
        raise VolumeError(msg)
    if not constant and low == high:
        msg = f"{source}: expected a scan, got one constant value ({data.flat[0]:g}); export it again"
        raise VolumeError(msg)
    if constant:
        return volume
    filled, padding = fill_padding(data)
    return replace(volume, data=filled, warnings=(*volume.warnings, padding)) if padding else volume


def _doubts(header: Any, affine: Affine, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What is doubtful about where a file says it lies; of NIfTI's two affines nibabel prefers the sform."""
    if isinstance(header, nib.freesurfer.mghformat.MGHHeader):
        return () if header["goodRASFlag"] > 0 else (_GUESSED.format("goodRASFlag is not set"),)
    if not isinstance(header, nib.Nifti1Header):
        unsaid = isinstance(header, nib.AnalyzeHeader) and np.allclose(affine, header.get_best_affine())
        return (_GUESSED.format("Analyze has none, and no .mat was found"),) if unsaid else ()
    sform, code = header.get_sform(coded=True)
    if not code and not header["qform_code"]:
        return (_GUESSED.format("qform and sform code 0"),)
    doubts = []
    zooms, sides = np.array(header.get_zooms()[:3]), np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(zooms / sides - 1).max() > 0.02:
        doubts.append(
            f"voxel sizes of the header ({' x '.join(f'{side:.3g}' for side in zooms)} mm) and of its affine "
            f"({' x '.join(f'{side:.3g}' for side in sides)} mm) disagree; the affine was used"
        )
    try:
        qform = header.get_qform(coded=True)[0]
    except ValueError:
        return (*doubts, "the qform's quaternion is not of length 1; the sform was used")
    if sform is not None and qform is not None:
        offset = _corner_distance(sform, qform, shape)
        if offset > 0.5 * float(np.linalg.norm(sform[:3, :3], axis=0).min()):
            doubts.append(f"sform and qform disagree by up to {offset:.1f} mm; the sform was used")
    return tuple(doubts)


def _corner_distance(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """How far apart in mm two affines put the corners of a scan, along one axis."""
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], float)
    corners[:, :3] *= np.array(shape) - 1
    return float(np.abs(corners @ (one - other).T)[:, :3].max())


def to_ras(data: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """Permute and flip ``(I, J, K)`` so that its axes run closest to Right, Anterior, Superior (a view)."""
    return np.asarray(nib.apply_orientation(data, nib.io_orientation(affine)))


def from_ras(data: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """Undo :func:`to_ras`: bring an RAS+ array back to the voxel axes of ``affine``."""
    ras = np.array([[0, 1], [1, 1], [2, 1]])
    back = nib.orientations.ornt_transform(ras, nib.io_orientation(affine))
    return np.asarray(nib.apply_orientation(data, back))


def ras_part(affine: Affine, shape: tuple[int, int, int], part: slice) -> tuple[int, slice]:
    """A part of a scan's axis K as the axis of the array of :func:`to_ras` that it is a part of, and which part."""
    axis, direction = nib.io_orientation(affine)[2]
    start, stop, _ = part.indices(shape[2])
    return int(axis), slice(start, stop) if direction > 0 else slice(shape[2] - stop, shape[2] - start)


def ras_spacing(affine: Affine) -> tuple[float, float, float]:
    """Voxel size in mm along the axes that :func:`to_ras` gives."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    axes = nib.io_orientation(affine)[:, 0].astype(int)
    i, j, k = spacing[np.argsort(axes)]
    return float(i), float(j), float(k)


def axial_axis(affine: Affine) -> int:
    """The voxel axis along which axial slices are stacked: the one closest to Superior."""
    return int(np.flatnonzero(nib.io_orientation(affine)[:, 0] == 2)[0])


def ras_to_voxel(affine: Affine, shape: tuple[int, int, int]) -> Affine:
    """``(4, 4)`` index into the array of :func:`to_ras` -> voxel index of the scan of that shape."""
    return np.asarray(nib.orientations.inv_ornt_aff(nib.io_orientation(affine), shape), float)
