"""Pasted stores: varied copies of prepared scans with synthetic anomalies, and the map of where one can be seen.

An ordinary slice store whose cases have two tensors more, ``anomaly`` (0 healthy, 1 anomaly, 2 uncertain) and
``height`` (0 at the foot of the brain, 1 at its top). What experts outlined is left out as ever: nothing is drawn near
it and no loss counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from semcycle.config import MAX_COUNT, MAX_SEED, Config
from semcycle.errors import StoreError, WorkerError
from semcycle.files import VERSION, object_hash
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.processes import map_jobs
from semcycle.store.anomalies.drawing import DrawingSettings, draw_anomalies
from semcycle.store.anomalies.shapes import Pattern, read_patterns
from semcycle.store.claim import claim_new_folder
from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore, voxel_size, write_case, write_manifest


class PasteSettings(Config):
    """How many copies, and what is drawn."""

    copies: int = Field(8, ge=1, le=MAX_COUNT)
    """Of every case."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Same seed, same copies."""
    tag: str = Field("p", pattern="^[a-z]+$")
    """Copies are called ``CASE_p1`` ...; another tag where stores with the same cases are joined afterwards."""
    drawing: DrawingSettings = DrawingSettings()
    """What is drawn."""
    strokes: str = ""
    """Folder of stroke masks whose shapes are used; without it strokes are wedges."""
    plaques: str = ""
    """Folder of masks of MS lesions whose shapes are used; without it plaques are spots."""
    leave_out: tuple[str, ...] = ()
    """Parts of the names of mask files that must not be used."""


_Common = tuple[Path, PasteSettings, Sequence[Pattern], Sequence[Pattern]]
"""What all copies share: the folder, the settings, shapes of strokes and of plaques."""


def paste_stores(
    stores: Sequence[SliceStore],
    folder: Path,
    settings: PasteSettings,
    cases: Sequence[str] | None = None,
    *,
    workers: int = 1,
    progress: Callable[[str], None] = lambda case_id: None,
) -> SliceStore:
    """Write a store of copies with drawn anomalies.

    A copy has the name of its case with the tag and a number behind it, and the subject of its case.

    Args:
        stores: Prepared with the same settings but for the window of slices and the tissue maps, which are not needed.
        folder: For the new store; empty or missing.
        settings: How.
        cases: Which; all by default.
        workers: Processes.
        progress: Called with every finished case.

    Raises:
        StoreError: The stores do not fit together, a case is unknown, or the folder is in use.
    """
    preprocess = _common_preprocess(stores)
    known = {case: store for store in stores for case in store.case_ids}
    if len(known) < sum(len(store.case_ids) for store in stores):
        msg = f"{stores[0].folder}: expected stores without a case in common, got one twice; rename it"
        raise StoreError(msg)
    chosen = sorted(known) if cases is None else sorted(set(cases))
    if unknown := [case for case in chosen if case not in known]:
        names = ", ".join(str(store.folder) for store in stores)
        msg = f"expected cases of {names}, got {unknown[0]!r}; correct the list"
        raise StoreError(msg)
    strokes = read_patterns(Path(settings.strokes), settings.leave_out) if settings.strokes else []
    plaques = read_patterns(Path(settings.plaques), settings.leave_out) if settings.plaques else []
    described = {
        "cohort": "+".join(str(store.settings["cohort"]) for store in stores),
        "preprocess": preprocess,
        "tissue": {"provider": "none"},
        "paste": settings.model_dump(mode="json", exclude={"strokes", "plaques"})
        | {"strokes": len(strokes), "plaques": len(plaques)},
        "made of": [store.hash for store in stores],
    }
    copies = range(1, settings.copies + 1)
    claim_new_folder(folder, described, [f"{case}_{settings.tag}{copy}" for case in chosen for copy in copies])
    records: list[CaseRecord] = []
    jobs = [(known[case].folder, case) for case in chosen]
    for (_, case_id), outcome in map_jobs(_paste_case, (folder, settings, strokes, plaques), jobs, workers):
        if isinstance(outcome, WorkerError):
            raise outcome
        records += outcome
        progress(case_id)
    write_manifest(folder, described, records, VERSION)
    return SliceStore(folder)


def _paste_case(common: _Common, job: tuple[Path, str]) -> list[CaseRecord]:
    folder, settings, strokes, plaques = common
    case = SliceStore(job[0]).load(job[1])
    copies = [_paste_copy(case, copy, settings, strokes, plaques) for copy in range(1, settings.copies + 1)]
    for copy in copies:
        write_case(folder, copy)
    return [copy.record for copy in copies]


def _paste_copy(
    case: CaseSlices, number: int, settings: PasteSettings, strokes: Sequence[Pattern], plaques: Sequence[Pattern]
) -> CaseSlices:
    seed = int(object_hash([settings.seed, settings.tag, case.record.case_id, number])[:12], 16)
    drawn = draw_anomalies(
        np.asarray(case.image, np.float32),
        np.asarray(case.brain) > 0,
        case.abnormal,
        voxel_size(case.record),
        np.random.default_rng(seed),
        settings.drawing,
        strokes,
        plaques,
    )
    lesion_voxels = drawn.lesion.sum(axis=(1, 2)).astype(np.int32)
    record = replace(
        case.record,
        case_id=f"{case.record.case_id}_{settings.tag}{number}",
        slices=len(drawn.image),
        lesion_free_slices=int((lesion_voxels == 0).sum()),
        flags=[],
        tissue={},
        preprocess=_with_distance(case.record, drawn.spacing[0]),
        source=object_hash([case.record.source, settings.model_dump(mode="json"), number]),
    )
    return CaseSlices(
        record,
        image=drawn.image.astype(np.float16),
        brain=drawn.brain.astype(np.uint8),
        lesion=drawn.lesion.astype(np.uint8),
        slice_index=np.asarray(case.slice_index)[drawn.index].astype(np.int32),
        lesion_voxels=lesion_voxels,
        anomaly=drawn.target,
        height=drawn.height,
    )


def _with_distance(record: CaseRecord, distance: float) -> dict[str, object]:
    """The preprocess record with slices at another distance."""
    grid = dict(record.preprocess["grid"])
    affine = np.array(grid["affine"], float)
    affine[:3, int(np.argmax(np.abs(affine[2, :3])))] *= distance / voxel_size(record)[0]
    return {**record.preprocess, "grid": {**grid, "affine": affine.tolist()}}


def _common_preprocess(stores: Iterable[SliceStore]) -> dict[str, object]:
    all_settings = [
        PreprocessSettings.model_validate({**store.settings["preprocess"], "slices": None}).model_dump(mode="json")
        for store in stores
    ]
    if not all_settings:
        msg = "expected at least one store, got none"
        raise StoreError(msg)
    for store, other in zip(stores, all_settings, strict=True):
        if other != all_settings[0]:
            msg = f"{store.folder}: expected a store prepared like the first, got {other}, not {all_settings[0]}"
            raise StoreError(msg)
    return all_settings[0]
