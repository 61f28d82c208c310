"""SliceStore: prepared axial slices on disk, one memory-mapped safetensors file a case.

A case file holds, for the ``S`` slices that show brain (and lie in the window),

==================  ==============  =======================================================================
tensor              shape, type     meaning
==================  ==============  =======================================================================
``image``           S,H,W  float16  intensity in [0, 1], 0 outside the brain
``brain``           S,H,W  uint8    1 in the brain
``lesion``          S,H,W  uint8    1 where more than half of the pixel is lesion
``tissue``          S,3,H,W uint8   GM, WM, CSF probability * 255 (absent in a store without tissue maps)
``slice_index``     S      int32    index of the slice from the foot in the scan
``lesion_voxels``   S      int32    voxels of any label of the slice at the scan's own resolution
``other``           S,H,W  uint8    1 where the expert's label is none of ``lesion_labels`` (absent without them)
``anomaly``         S,H,W  uint8    0 healthy, 1 drawn anomaly, 2 uncertain (in a store of `semcycle paste`)
``height``          S      float32  0 at the foot of the brain, 1 at its top (there too)
``quantiles``       1001   float32  of the whole scan with its background (absent in old stores and varied copies)
==================  ==============  =======================================================================

and its :class:`CaseRecord` as JSON in the header. ``manifest.json`` names the cases, the hash of every file
and the settings, and appears last: a store without it is unfinished.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from semcycle.errors import StoreError, error_line, shorten
from semcycle.files import file_hash, object_hash, read_json, write_bytes, write_json
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.preprocess.quantiles import ScanQuantiles
from semcycle.volume import ras_spacing

_FORMAT = 1
MANIFEST = "manifest.json"
OPTIONAL = ("tissue", "other", "anomaly", "height")
"""Tensors that not every store has."""
_NUMPY = {"F16": np.float16, "F32": np.float32, "U8": np.uint8, "I32": np.int32, "I64": np.int64}


@dataclass(frozen=True)
class CaseRecord:
    """What a case file says of itself.

    Attributes:
        case_id: Name of the case and of its file.
        subject: Splits keep a subject together.
        group: Stratum, e.g. the grade.
        slices: Number of slices in the file.
        lesion_free_slices: Those of them without a single lesion voxel at native resolution.
        brain_ml: Volume of the brain mask.
        lesion_ml: Volume of the expert mask.
        flags: Words for what looks wrong (``"white matter 0.02 of the brain"``); empty where nothing does.
        tissue: Tissue shares and median intensities outside lesions, empty without tissue maps.
        preprocess: The record with which predictions are brought back to the scan's grid.
        source: Hash of the settings and the names, sizes and times of the files it was made from.
    """

    case_id: str
    subject: str
    group: str
    slices: int
    lesion_free_slices: int
    brain_ml: float
    lesion_ml: float
    flags: list[str] = field(default_factory=list)
    tissue: dict[str, float] = field(default_factory=dict)
    preprocess: dict[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class CaseSlices:
    """The arrays of one case, memory-mapped (see the module's table), and its record."""

    record: CaseRecord
    image: NDArray[np.float16]
    brain: NDArray[np.uint8]
    lesion: NDArray[np.uint8]
    slice_index: NDArray[np.int32]
    lesion_voxels: NDArray[np.int32]
    tissue: NDArray[np.uint8] | None = None
    other: NDArray[np.uint8] | None = None
    anomaly: NDArray[np.uint8] | None = None
    height: NDArray[np.float32] | None = None
    quantiles: ScanQuantiles | None = None

    @property
    def abnormal(self) -> NDArray[np.bool_]:
        """``(S, H, W)`` what an expert marked, as the lesion to be found or as anything else."""
        lesion = np.asarray(self.lesion) > 0
        return lesion if self.other is None else lesion | (np.asarray(self.other) > 0)


def write_case(folder: Path, case: CaseSlices) -> Path:
    """Write one case file atomically and return its path."""
    arrays = {name: getattr(case, name) for name in ("image", "brain", "lesion", "slice_index", "lesion_voxels")}
    arrays |= {name: array for name in (*OPTIONAL, "quantiles") if (array := getattr(case, name)) is not None}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # one metadata entry only: safetensors writes several in random order, and equal cases shall be equal bytes
    path = folder / f"{case.record.case_id}.safetensors"
    meta = {"format": _FORMAT, "record": asdict(case.record), "sha256": _array_hash(save(arrays))}
    write_bytes(path, save(arrays, {"case": json.dumps(meta)}))
    return path


def voxel_size(record: CaseRecord) -> tuple[float, float, float]:
    """Voxel size in mm along the axes ``(S, H, W)`` of a case."""
    grid = record.preprocess["grid"]
    pixel = float(grid["pixel_mm"])
    return ras_spacing(np.array(grid["affine"]))[2], pixel, pixel


def read_record(path: Path) -> CaseRecord:
    """Read the record in a case file's header.

    Raises:
        StoreError: The file is damaged or of another format.
    """
    return _header(path)[0]


def read_whole(path: Path, listed: str | None = None) -> CaseRecord:
    """Read the record of a case file of which every byte is as it was written.

    Args:
        path: The file.
        listed: Its hash in a manifest; without, the hash in the file is compared, which older versions did not write.

    Raises:
        StoreError: The file is damaged, or cannot be told to be whole.
    """
    record = read_record(path)
    if listed is not None:
        whole = file_hash(path) == listed
    else:
        content = path.read_bytes()
        header = json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])
        whole = json.loads(header["__metadata__"]["case"]).get("sha256") == _array_hash(content)
    if not whole:
        msg = f"{path}: expected a whole case file, got one that is damaged or of an older version; prepare it again"
        raise StoreError(msg)
    return record


def write_manifest(folder: Path, settings: Mapping[str, Any], records: Iterable[CaseRecord], version: str) -> None:
    """Finish a store: list its cases, file hashes and settings."""
    cases = {
        record.case_id: {
            "sha256": file_hash(folder / f"{record.case_id}.safetensors"),
            "subject": record.subject,
            "group": record.group,
            "slices": record.slices,
            "lesion_free_slices": record.lesion_free_slices,
            "brain_ml": round(record.brain_ml, 1),
            "lesion_ml": round(record.lesion_ml, 2),
            "flags": record.flags,
        }
        for record in sorted(records, key=lambda record: record.case_id)
    }
    content = {"format": _FORMAT, "semcycle": version, "settings": dict(settings), "cases": cases}
    write_json(folder / MANIFEST, content)


class SliceStore:
    """A finished store, opened for reading.

    Args:
        folder: Folder made by ``semcycle prepare``.

    Attributes:
        folder: Where it lies.
        settings: How it was made: ``cohort``, ``preprocess`` (settings), ``tissue`` (provider).
        hash: SHA-256 over settings and case files: equal hashes mean equal content.

    Raises:
        StoreError: No finished store is there, or it has another format.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / MANIFEST
        if not path.is_file():
            msg = f"{folder}: expected a finished slice store, found no {MANIFEST}; run `semcycle prepare` (again)"
            raise StoreError(msg)
        try:
            manifest = read_json(path)
            if manifest["format"] != _FORMAT:
                msg = f"{path}: expected store format {_FORMAT}, got {manifest['format']}; prepare the store again"
                raise StoreError(msg)
            self.settings: dict[str, Any] = manifest["settings"]
            self._cases: dict[str, dict[str, Any]] = manifest["cases"]
            for case_id, summary in self._cases.items():
                _check_summary(case_id, summary)
            self._preprocess = PreprocessSettings.model_validate(self.settings["preprocess"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = error_line(error)[:160]
            msg = f"{path}: expected a store manifest, got a damaged file ({reason}); prepare the store again"
            raise StoreError(msg) from error
        self.hash = object_hash([self.settings, {name: case["sha256"] for name, case in self._cases.items()}])
        self._checked: set[str] = set()

    @property
    def case_ids(self) -> list[str]:
        """All cases, sorted."""
        return list(self._cases)

    @property
    def preprocess(self) -> PreprocessSettings:
        """How its scans were prepared; settings that are newer than the store have their defaults."""
        return self._preprocess

    @property
    def has_tissue(self) -> bool:
        """Whether the cases have tissue maps."""
        return any(self.load(case).tissue is not None for case in self.case_ids[:1])

    def subject(self, case_id: str) -> str:
        """Subject of a case."""
        return str(self.summary(case_id)["subject"])

    def summary(self, case_id: str) -> dict[str, Any]:
        """The manifest's entry of a case: hash, subject, group, slice counts, volumes, flags.

        Raises:
            StoreError: The case is not in the store.
        """
        if case_id not in self._cases:
            msg = (
                f"{self.folder}: expected a case of this store, got {case_id!r}; it has {len(self._cases)}, such as "
                f"{', '.join(self.case_ids[:3])}"
            )
            raise StoreError(msg)
        return self._cases[case_id]

    def load(self, case_id: str) -> CaseSlices:
        """Map the arrays of a case into memory, read-only; nothing is read until it is used.

        Raises:
            StoreError: The case is unknown, or its file is missing or was changed since it was written
                (its hash is checked the first time).
        """
        path = self.folder / f"{case_id}.safetensors"
        expected = self.summary(case_id)["sha256"]
        if case_id not in self._checked:
            if not path.is_file() or file_hash(path) != expected:
                msg = (
                    f"{path}: expected the file that {MANIFEST} lists, got a missing or changed one; prepare the store "
                    "again"
                )
                raise StoreError(msg)
            self._checked.add(case_id)
        record, arrays = _header(path)
        return CaseSlices(record, **{name: np.memmap(path, *layout) for name, layout in arrays.items()})


def _check_summary(case_id: str, summary: Any) -> None:
    """Refuse a manifest's entry that is none."""
    kinds = {"sha256": str, "subject": str, "group": str, "slices": int, "lesion_free_slices": int, "flags": list}
    kinds |= {"brain_ml": int | float, "lesion_ml": int | float}  # type: ignore[dict-item]
    wrong = [name for name, kind in kinds.items() if not isinstance(summary[name], kind)]
    wrong += ["flags"] * (not all(isinstance(flag, str) for flag in summary["flags"]))
    if wrong or Path(case_id).name != case_id:
        msg = f"{', '.join(wrong) or 'the name'} of case {shorten(case_id)} is wrong"
        raise ValueError(msg)


def check_alike(first: SliceStore, other: SliceStore) -> None:
    """Refuse two stores whose scans were prepared differently; their windows of slices may differ.

    Raises:
        StoreError: They were; the settings are named.
    """
    if differing := other.preprocess.differences(first.preprocess):
        shown = "; ".join(differing)
        msg = f"{other.folder}: expected a store prepared like {first.folder}, got {shown}; prepare it again"
        raise StoreError(msg)


def _check_layout(arrays: Mapping[str, tuple[Any, ...]], length: int) -> None:
    """Refuse tensors that a case file does not have, or that reach beyond it."""
    known = {field.name for field in fields(CaseSlices)} - {"record"}
    needed = known - {*OPTIONAL, "quantiles"}
    ends = [
        start + math.prod(shape) * np.dtype(kind).itemsize if min((start, *shape)) >= 0 else -1
        for kind, _, start, shape in arrays.values()
    ]
    if not needed <= arrays.keys() <= known or min(ends) < 0 or max(ends) > length:
        msg = "tensors that are missing, unknown or longer than the file"
        raise ValueError(msg)


def _array_hash(content: bytes) -> str:
    """Of what stands behind the header of a safetensors file."""
    return hashlib.sha256(content[8 + struct.unpack("<Q", content[:8])[0] :]).hexdigest()


def _header(path: Path) -> tuple[CaseRecord, dict[str, tuple[Any, ...]]]:
    """Record and the memory-map arguments (dtype, mode, offset, shape) of every tensor of a case file."""
    try:
        with path.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            if size > path.stat().st_size:
                msg = f"a header of {size} bytes"
                raise ValueError(msg)
            header = json.loads(stream.read(size))
        meta = json.loads(header.pop("__metadata__")["case"])
        if meta["format"] != _FORMAT:
            msg = f"{path}: expected store format {_FORMAT}, got {meta['format']}; prepare the store again"
            raise StoreError(msg)
        record = CaseRecord(**meta["record"])
        start = 8 + size
        arrays = {
            name: (_NUMPY[entry["dtype"]], "r", start + entry["data_offsets"][0], tuple(entry["shape"]))
            for name, entry in header.items()
        }
        _check_layout(arrays, path.stat().st_size)
    except (
        OSError,
        struct.error,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        RecursionError,
    ) as error:
        msg = f"{path}: expected a case file of a slice store, got a damaged one ({error}); prepare the store again"
        raise StoreError(msg) from error
    return record, arrays
