"""Prediction: a scan in, its anomaly map, lesion mask, tissue maps and healthy reconstruction out, on the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcycle.errors import PredictionError
from semcycle.masks import label_components
from semcycle.methods.base import Method, Reconstructed, Reconstruction
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.preprocess.pipeline import Prepared, preprocess
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.types import SliceArray, SliceMask, TissueSlices, VoxelArray, VoxelMask
from semcycle.volume import Volume, as_nibabel, ras_spacing

MIN_LESION_ML = 0.03
"""Components of the lesion mask below this volume are left out of it: specks of a few voxels."""


@dataclass(frozen=True)
class Components:
    """Connected components of a lesion mask (26 neighbours).

    Attributes:
        count: How many.
        total_ml: Their volume together.
        largest_ml: Of the largest, 0 without any.
    """

    count: int
    total_ml: float
    largest_ml: float


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one scan. Arrays named ``..._native`` lie on the scan's own voxels.

    Attributes:
        volume: The scan.
        prepared: The scan on the working grid, and the way back.
        scores: ``(S, H, W)`` anomaly scores in [0, 1] on the working grid.
        reconstruction: ``(S, H, W)`` healthy reconstruction in [0, 1] on the working grid.
        tissue: ``(S, 3, H, W)`` GM, WM, CSF, or ``None`` for a method without.
        preset: Name of the post-processing.
        threshold: Scores from here on are lesion; ``None`` leaves the mask out.
    """

    volume: Volume
    prepared: Prepared
    scores: SliceArray
    reconstruction: SliceArray
    tissue: TissueSlices | None
    preset: str = "literal"
    threshold: Threshold | None = None

    @cached_property
    def _anomaly(self) -> VoxelArray:
        return self.prepared.to_native(self.scores)

    def anomaly_native(self) -> VoxelArray:
        """``(I, J, K)`` anomaly scores in [0, 1], 0 outside the brain."""
        return self._anomaly

    @cached_property
    def _mask(self) -> tuple[VoxelMask, Components] | None:
        if self.threshold is None:
            return None
        called = (self._anomaly >= self.threshold.value) & self.prepared.brain_native
        labels, voxels = label_components(called, self.volume.spacing)
        sizes = voxels * self.volume.voxel_ml
        kept = sizes >= MIN_LESION_ML
        mask = np.concatenate([[False], kept])[labels]
        found = sizes[kept]
        return mask, Components(len(found), float(found.sum()), float(found.max(initial=0)))

    def mask_native(self) -> VoxelMask | None:
        """``(I, J, K)`` lesion mask: scores from the threshold on, specks left out; ``None`` without a threshold."""
        return None if self._mask is None else self._mask[0]

    def components(self) -> Components | None:
        """Number and volumes of the mask's components; ``None`` without a threshold."""
        return None if self._mask is None else self._mask[1]

    def reconstruction_native(self) -> VoxelArray:
        """``(I, J, K)`` reconstruction in the scan's own intensity units, background outside the brain."""
        return self.prepared.to_scanner(self.reconstruction)

    def tissue_native(self) -> NDArray[np.float32] | None:
        """``(I, J, K, 3)`` GM, WM, CSF in [0, 1], 0 outside the brain."""
        if self.tissue is None:
            return None
        return np.stack([self.prepared.to_native(self.tissue[:, index]) for index in range(3)], axis=-1)

    def to_nibabel(self, what: str = "anomaly") -> Any:
        """One of ``anomaly``, ``mask``, ``reconstruction``, ``tissue`` as a ``nibabel.Nifti1Image`` on the scan's grid.

        Raises:
            PredictionError: There is no such output, or this prediction has none.
        """
        made = {
            "anomaly": self.anomaly_native,
            "mask": self.mask_native,
            "reconstruction": self.reconstruction_native,
            "tissue": self.tissue_native,
        }
        data = made[what]() if what in made else None
        if data is None:
            msg = f"expected one of {', '.join(made)} that this prediction has, got {what!r}; a mask needs a threshold"
            raise PredictionError(msg)
        return as_nibabel(data, self.volume.affine)


def reconstruct_slices(
    method: Method[Any], x: SliceArray, brain: SliceMask, batch_size: int = 32, *, tta: bool = False
) -> Reconstructed:
    """Run a method over slices.

    Args:
        method: In any mode, on any device.
        x: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``; slices without brain are not run and come back as 0.
        batch_size: Slices at a time.
        tta: Take the mean with the reconstruction of the mirrored slices.

    Returns:
        Reconstruction, and tissue maps and a score of its own where the method has them.
    """
    device = next((parameter.device for parameter in method.parameters()), torch.device("cpu"))
    image = np.zeros(x.shape, np.float32)
    tissue: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    for start in range(0, len(shown), batch_size):
        part = shown[start : start + batch_size]
        images = torch.from_numpy(np.ascontiguousarray(x[part, None], np.float32)).to(device)
        masks = torch.from_numpy(brain[part, None].astype(np.float32)).to(device)
        made = method.reconstruct(images, masks)
        if tta:
            made = _mean(made, method.reconstruct(images.flip(-1), masks.flip(-1)))
        image[part] = made.image[:, 0].float().cpu().numpy()
        if made.tissue is not None:
            if tissue is None:
                tissue = np.zeros((len(x), 3, *x.shape[1:]), np.float32)
            tissue[part] = made.tissue.float().cpu().numpy()
        if made.score is not None:
            if score is None:
                score = np.zeros(x.shape, np.float32)
            score[part] = made.score[:, 0].float().clamp(0, 1).cpu().numpy()
    return method.finish(x, brain, Reconstructed(image, tissue, score))


def _mean(made: Reconstruction, mirrored: Reconstruction) -> Reconstruction:
    """Mean with what was made of the mirrored slices."""
    both = [None if a is None or b is None else (a + b.flip(-1)) / 2 for a, b in zip(made, mirrored, strict=True)]
    return Reconstruction(*both)  # type: ignore[arg-type]  # the image is never None


def predict_volume(
    checkpoint: Checkpoint,
    volume: Volume,
    brain: VoxelMask | None = None,
    *,
    preset: str | None = None,
    threshold: Threshold | None = None,
    tta: bool = False,
) -> Prediction:
    """Find anomalies in one scan.

    Args:
        checkpoint: A trained run.
        volume: The scan.
        brain: ``(I, J, K)`` brain mask; found where it is not given.
        preset: Post-processing of the residual; the model's own, or ``literal`` where it has none.
        threshold: Cuts the scores to a lesion mask; of the same preset.
        tta: Reconstruct the mirrored scan as well and take the mean of both: twice the time.

    Raises:
        BrainMaskError: No brain, or skull and no mask.
        GeometryError: The brain does not fit the working window.
    """
    prepared = preprocess(volume, checkpoint.preprocess, brain)
    made = reconstruct_slices(checkpoint.method, prepared.image, prepared.brain, tta=tta)
    chosen = preset or checkpoint.preset
    pixel = checkpoint.preprocess.pixel_mm
    spacing = (ras_spacing(volume.affine)[2], pixel, pixel)
    mapped = make_anomaly_map(prepared.image, made, prepared.brain, chosen, spacing)
    return Prediction(volume, prepared, mapped.scores, made.image, made.tissue, chosen, threshold)
