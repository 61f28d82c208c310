"""Augmented stores: the same subjects as other scanners, and other days, would have shown them.

A model that is to work elsewhere has to see more than one scanner's contrast, sharpness and artefacts. TorchIO
[perezgarcia2021] varies whole prepared volumes, shape together with tissue maps and lesion masks, and the outcome is
an ordinary slice store: drawn once, looked at like any other, and trained on with any recipe. Cheap variations that
are better drawn anew for every batch (mirror, gamma, pasted patches) are the recipe's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from semcycle.config import MAX_COUNT, MAX_SEED, Config
from semcycle.errors import SemcycleError, StoreError
from semcycle.files import VERSION, object_hash
from semcycle.store.claim import claim_new_folder
from semcycle.store.slice_store import (
    CaseRecord,
    CaseSlices,
    SliceStore,
    check_alike,
    voxel_size,
    write_case,
    write_manifest,
)


class AugmentationSettings(Config):
    """How many copies, and how far they stray. Probabilities are a copy's."""

    copies: int = Field(2, ge=0, le=MAX_COUNT)
    """Varied copies of every case, besides the case itself."""
    every: int = Field(1, ge=1, le=MAX_COUNT)
    """Of neighbouring slices keep one in so many; each copy starts at another."""
    scale: float = Field(0.1, ge=0, lt=1)
    """Sizes from 1 - scale to 1 + scale along each axis."""
    degrees: float = Field(8.0, ge=0, le=180)
    """Rotation in the slice plane, up to; half of it out of the plane."""
    elastic_mm: float = Field(6.0, ge=0, le=100)
    """Largest displacement of an elastic deformation."""
    thick: float = Field(0.3, ge=0, le=1)
    """Probability of slices 2 to 6 times as thick, interpolated back."""
    blur: float = Field(0.3, ge=0, le=1)
    """Probability of a Gaussian blur of up to 1.5 mm."""
    bias: float = Field(0.4, ge=0, le=1)
    """Probability of a bias field (polynomial of third order, coefficients up to 0.3)."""
    noise: float = Field(0.4, ge=0, le=1)
    """Probability of Gaussian noise with a standard deviation of up to 0.04."""
    motion: float = Field(0.1, ge=0, le=1)
    """Probability of motion between parts of k-space."""
    ghosting: float = Field(0.1, ge=0, le=1)
    """Probability of ghosts along an axis of the slice."""
    seed: int = Field(0, ge=0, le=MAX_SEED)
    """Same seed, same copies."""


def augment_stores(
    stores: Sequence[SliceStore],
    folder: Path,
    settings: AugmentationSettings,
    cases: Sequence[str] | None = None,
    progress: Callable[[str], None] = lambda case_id: None,
) -> SliceStore:
    """Join stores and add varied copies of their cases.

    A copy has the name of its case with ``_v1`` ... behind it and the subject of its case, so that splits keep them
    together.

    Args:
        stores: Prepared with the same settings (the windows of slices may differ), all with tissue maps or none.
        folder: For the new store; empty or missing.
        settings: How.
        cases: Which; all by default.
        progress: Called with every finished case.

    Returns:
        The new store.

    Raises:
        StoreError: The stores do not fit together, a case is unknown, or the folder is in use.
    """
    preprocess = _common_settings(stores)
    known = {case: store for store in stores for case in store.case_ids}
    if len(known) < sum(len(store.case_ids) for store in stores):
        msg = f"{stores[0].folder}: expected stores without a case in common, got one twice; rename it"
        raise StoreError(msg)
    chosen = sorted(known) if cases is None else sorted(set(cases))
    if unknown := [case for case in chosen if case not in known]:
        msg = (
            f"expected cases of {', '.join(str(store.folder) for store in stores)}, got {unknown[0]!r}; correct the "
            "list"
        )
        raise StoreError(msg)
    described = {
        "cohort": "+".join(str(store.settings["cohort"]) for store in stores),
        "preprocess": preprocess,
        "tissue": {str(store.settings["cohort"]): store.settings["tissue"] for store in stores},
        "augmentation": settings.model_dump(mode="json"),
        "made of": [store.hash for store in stores],
    }
    names = [case + (f"_v{copy}" if copy else "") for case in chosen for copy in range(settings.copies + 1)]
    claim_new_folder(folder, described, names)
    records: list[CaseRecord] = []
    for case_id in chosen:
        case = known[case_id].load(case_id)
        for copy in range(settings.copies + 1):
            varied = _thin(case if copy == 0 else _vary(case, settings, copy), settings.every, copy)
            name = case_id if copy == 0 else f"{case_id}_v{copy}"
            record = replace(
                varied.record,
                case_id=name,
                slices=len(varied.image),
                lesion_free_slices=int((varied.lesion_voxels == 0).sum()),
                source=object_hash([case.record.source, settings.model_dump(mode="json"), copy]),
            )
            write_case(folder, replace(varied, record=record))
            records.append(record)
        progress(case_id)
    write_manifest(folder, described, records, VERSION)
    return SliceStore(folder)


def _common_settings(stores: Sequence[SliceStore]) -> dict[str, Any]:
    if not stores:
        msg = "expected at least one store, got none"
        raise StoreError(msg)
    for store in stores[1:]:
        check_alike(stores[0], store)
        ours, theirs = stores[0].preprocess.lesion_labels, store.preprocess.lesion_labels
        if ours != theirs:
            msg = f"{store.folder}: expected lesion_labels {ours} as in {stores[0].folder}, got {theirs}; prepare again"
            raise StoreError(msg)
    without = [store.folder for store in stores if not store.has_tissue]
    if 0 < len(without) < len(stores):
        msg = f"{without[0]}: expected tissue maps in all stores or in none, got none here; prepare them alike"
        raise StoreError(msg)
    return {**stores[0].settings["preprocess"], "slices": None}


def _thin(case: CaseSlices, every: int, start: int) -> CaseSlices:
    """One in ``every`` slices."""
    if every == 1:
        return case
    keep = np.arange(start % every, len(case.image), every)
    return replace(
        case,
        image=case.image[keep],
        brain=case.brain[keep],
        lesion=case.lesion[keep],
        slice_index=case.slice_index[keep],
        lesion_voxels=case.lesion_voxels[keep],
        tissue=None if case.tissue is None else case.tissue[keep],
        other=None if case.other is None else case.other[keep],
    )


def _vary(case: CaseSlices, settings: AugmentationSettings, copy: int) -> CaseSlices:
    """One varied copy with all its slices; the median of the brain stays where the intensity scale put it."""
    tio, torch = _torchio()

    def volume(slices: NDArray[Any]) -> Any:
        """``(S, H, W)`` or ``(S, C, H, W)`` -> ``(C, H, W, S)``."""
        data = slices[:, None] if slices.ndim == 3 else slices
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(np.asarray(data, np.float32), 0, -1)))

    step, row, column = voxel_size(case.record)
    affine = np.diag([row, column, step, 1.0])
    labels = {"brain": case.brain, "lesion": case.lesion, "tissue": case.tissue, "other": case.other}
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=volume(case.image), affine=affine),
        **{name: tio.LabelMap(tensor=volume(data), affine=affine) for name, data in labels.items() if data is not None},
    )
    seed = int(object_hash([settings.seed, case.record.case_id, copy])[:12], 16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        varied = _transform(tio, settings)(subject)

    def slices(name: str) -> NDArray[np.float32]:
        return np.asarray(np.moveaxis(varied[name].numpy(), -1, 0))

    brain = slices("brain")[:, 0] > 0
    lesion = (slices("lesion")[:, 0] > 0) & brain
    other = None if case.other is None else (slices("other")[:, 0] > 0) & brain
    marked = lesion if other is None else lesion | other
    image = np.where(brain, np.maximum(slices("image")[:, 0], 0), 0)
    before = float(np.median(np.asarray(case.image, np.float32)[case.brain > 0]))
    image = np.clip(image * (before / max(float(np.median(image[brain])), 1e-3)), 0, 1)
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    # the count at the scan's own resolution is of the unmoved lesion; slices the moved one reaches count too
    traces = np.maximum(case.lesion_voxels, marked.sum(axis=(1, 2)))
    return replace(
        case,
        image=image[shown].astype(np.float16),
        brain=brain[shown].astype(np.uint8),
        lesion=lesion[shown].astype(np.uint8),
        slice_index=np.asarray(case.slice_index)[shown],
        lesion_voxels=traces[shown].astype(np.int32),
        tissue=None if case.tissue is None else np.where(brain[:, None], slices("tissue"), 0)[shown].astype(np.uint8),
        other=None if other is None else other[shown].astype(np.uint8),
        quantiles=None,  # of the whole scan, which was not varied
    )


def _transform(tio: Any, settings: AugmentationSettings) -> Any:
    degrees, half = settings.degrees, settings.degrees / 2
    return tio.Compose(
        [
            tio.RandomAffine(scales=settings.scale, degrees=(-half, half, -half, half, -degrees, degrees)),
            tio.RandomElasticDeformation(num_control_points=7, max_displacement=settings.elastic_mm),
            tio.RandomBiasField(coefficients=0.3, p=settings.bias),
            tio.RandomMotion(degrees=4, translation=3, p=settings.motion),
            tio.RandomGhosting(num_ghosts=(3, 6), axes=(0, 1), intensity=(0.2, 0.6), p=settings.ghosting),
            tio.RandomBlur(std=(0, 1.5), p=settings.blur),
            tio.RandomAnisotropy(axes=(2,), downsampling=(2, 6), p=settings.thick),
            tio.RandomNoise(std=(0, 0.04), p=settings.noise),
        ]
    )


def _torchio() -> tuple[Any, Any]:
    try:
        import torch
        import torchio
    except ImportError as error:
        msg = "expected TorchIO to vary volumes, found none; install it with: pip install 'semcycle[augment]'"
        raise SemcycleError(msg) from error
    return torchio, torch
