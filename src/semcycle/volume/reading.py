"""Image files, read strictly: as long as their header says, whole, one grey value a voxel, of a plausible size."""

from __future__ import annotations

import gzip
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from semcycle.errors import GeometryError, SemcycleError, VolumeError
from semcycle.types import Affine, VoxelArray

MAX_VOXELS = 512**3
"""Largest scan that is read: a head of 0.5 mm fits."""
SPACING_MM = (0.05, 20.0)
"""Plausible voxel sizes."""
_NO_LIMITS = "SEMCYCLE_READ_LIMITS=off in the environment lifts the limit"
_MAX_EXTENSION = 1 << 24
"""Bytes that may stand between header and voxels."""
_HEAD = 4096
_CHUNK = 1 << 22
_LARGE = 1 << 26
"""Bytes from which on a compressed file is checked to its end before it is held in memory."""


def read_image(path: Path) -> tuple[VoxelArray, Affine, Any]:
    """Array ``(I, J, K)`` float32 (scaling applied), affine and header of a file."""
    if not path.is_file():
        msg = f"{path}: expected an image file, found none; check the path"
        raise VolumeError(msg)
    try:
        with nib.imageglobals.LoggingOutputSuppressor():
            return unpack_image(_open(path), str(path))
    except SemcycleError:
        raise
    except Exception as error:  # a damaged header makes nibabel and numpy raise nearly anything, MemoryError included
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        msg = f"{path}: expected a readable image, got a damaged or foreign file ({detail}); copy or export it again"
        raise VolumeError(msg) from error


def _open(path: Path) -> Any:
    """The nibabel image of a file that is as long, unpacked, as its header says; voxels are not decoded yet."""
    kind = next((kind for kind in nib.all_image_classes if kind.path_maybe_image(path)[0]), None)
    if kind is None or (kind is nib.Minc2Image and find_spec("h5py") is None):
        remedy = "pip install h5py to read MINC 2" if kind else "export it as NIfTI"
        msg = f"{path}: expected a NIfTI, MGH or MINC image, got a damaged or foreign file; {remedy}"
        raise VolumeError(msg)
    packed = path.name.lower().endswith((".gz", ".mgz"))
    files = {part: Path(str(held.filename)) for part, held in kind.filespec_to_file_map(path).items()}
    front = files.get("header", files["image"])  # of a pair .hdr and .img
    with gzip.open(path) if packed else front.open("rb") as stream:
        head = stream.read(_HEAD)
        most = None if issubclass(kind, nib.Minc1Image) else _claimed_bytes(kind, head, str(path))
        if not packed:
            image = kind.from_filename(path)
            _check_length(image, str(path), files["image"])
            return _unguessed(image, head)
        if most is None or most > _LARGE:
            for _ in _unpack(stream, head, most, path):
                pass
            stream.seek(len(head))
        content = io.BytesIO()
        for part in _unpack(stream, head, most, path):
            content.write(part)
    content.seek(0)
    image = kind.from_file_map(kind.make_file_map({"image": content}))
    _check_length(image, str(path), content)
    return _unguessed(image, head)


def _unguessed(image: Any, head: bytes) -> Any:
    """The image, with the file's goodRASFlag: nibabel sets it where it guesses the orientation of an MGH."""
    if isinstance(image, nib.MGHImage) and head[28:30] == b"\0\0":
        image.header["goodRASFlag"] = 0
    return image


def _claimed_bytes(kind: Any, head: bytes, source: str) -> int:
    """The length that a header claims for the file, with what may stand around the voxels; refuses absurd ones.

    nibabel reads all that lies before the voxels, and allocates all voxels, before it finds that they are not there.
    """
    if kind is nib.MGHImage:
        header, before = kind.header_class.from_fileobj(io.BytesIO(head)), _HEAD
    else:
        header = kind.header_class(head[: kind.header_class.template_dtype.itemsize])
        before = int(header["vox_offset"])
        if not 0 <= before <= _MAX_EXTENSION:
            msg = f"{source}: expected the voxels behind the header, got an offset of {before} bytes; export it again"
            raise VolumeError(msg)
    _check_kind(header.get_data_shape(), header.get_data_dtype(), source)
    voxels = math.prod(int(side) for side in header.get_data_shape())
    if voxels > MAX_VOXELS and _limited():
        msg = f"{source}: expected at most {MAX_VOXELS:,} voxels, got {voxels:,}; {_NO_LIMITS}"
        raise VolumeError(msg)
    return before + voxels * header.get_data_dtype().itemsize + _HEAD


def _unpack(stream: Any, head: bytes, most: int | None, path: Path) -> Iterator[bytes]:
    """The parts of a gzip stream whose ``head`` was read; Python's reader checks its CRC and length at the end."""
    # zlib packs at most 1032 bytes into one: a header that claims more than that is refused before anything is unpacked
    bound = path.stat().st_size * 1040
    if most is not None and most - 2 * _HEAD > bound:
        msg = (
            f"{path}: expected the voxels that the header names ({most:,} bytes), got a file too small for them; copy "
            "it again"
        )
        raise VolumeError(msg)
    yield head
    total = len(head)
    while part := stream.read(_CHUNK):
        total += len(part)
        if total > (most or bound) and not (total <= bound and not any(part)):
            msg = f"{path}: expected the voxels that the header names, got more bytes; copy or export it again"
            raise VolumeError(msg)
        yield part


def _check_length(image: Any, source: str, file: Path | io.BytesIO) -> None:
    """Refuse a file that is shorter than its header says, or longer by anything but zeros."""
    if not hasattr(image.dataobj, "offset"):
        return
    length = file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes
    end = int(image.dataobj.offset) + math.prod(image.shape) * image.get_data_dtype().itemsize
    if length < end:
        msg = f"{source}: expected {end:,} bytes as its header says, got {length:,}: a truncated file; copy it again"
        raise VolumeError(msg)
    if length == end or isinstance(image, nib.MGHImage):  # MGH keeps scan parameters behind the voxels
        return
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as stream:
        place = stream.tell()
        stream.seek(end)
        rest = stream.read(_MAX_EXTENSION)
        stream.seek(place)
    if rest.strip(b"\0"):
        msg = f"{source}: expected the voxels that the header names, got {length - end:,} bytes more; export it again"
        raise VolumeError(msg)


def _limited() -> bool:
    return os.environ.get("SEMCYCLE_READ_LIMITS", "on") != "off"


def _check_kind(sides: Sequence[int], stored: Any, source: str) -> tuple[int, ...]:
    """The three sides of a scan of grey values; anything else is refused."""
    if stored.fields is not None or stored.kind == "c":
        msg = (
            f"{source}: expected one grey value a voxel, got {stored} (colour or complex); convert it to a scalar image"
        )
        raise VolumeError(msg)
    shape = tuple(int(side) for side in sides)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape) < 2:
        msg = f"{source}: expected a 3-D scan, got shape {tuple(map(int, sides))}; extract one volume"
        raise VolumeError(msg)
    return shape


def unpack_image(image: Any, source: str) -> tuple[VoxelArray, Affine, Any]:
    """Array, affine and header of a nibabel image that is one 3-D volume of grey values."""
    shape = _check_kind(image.shape, image.get_data_dtype(), source)
    affine = np.asarray(image.affine, dtype=float)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        msg = f"{source}: expected an invertible affine, got a singular one; repair the header (sform/qform)"
        raise GeometryError(msg)
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    if _limited() and not (SPACING_MM[0] <= sides.min() and sides.max() <= SPACING_MM[1]):
        msg = (
            f"{source}: expected voxels of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, got "
            f"{' x '.join(f'{side:.4g}' for side in sides)}; repair the header (units, sform), or {_NO_LIMITS}"
        )
        raise GeometryError(msg)
    return np.asarray(image.dataobj, dtype=np.float32).reshape(shape), affine, image.header
