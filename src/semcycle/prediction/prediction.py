"""Prediction: a scan in; anomaly map, lesion mask, tissue maps and healthy reconstruction out, on the scan's grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semcycle.errors import PredictionError
from semcycle.prediction.findings import Finding, list_findings
from semcycle.prediction.lesion_mask import Components, find_lesions
from semcycle.prediction.plausibility import judge_lesions, judge_scan
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.prediction.prior import HealthyPrior
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.preprocess.pipeline import Prepared, preprocess
from semcycle.training.calibration import HealthyComponents, Threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.types import SliceArray, TissueSlices, VoxelArray, VoxelMask
from semcycle.volume import Volume, as_nibabel, ras_spacing
from semcycle.volume.slabs import WHOLE, Slabs, cut_slabs


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
        doubts: Why the scan may not be what the model knows (:mod:`semcycle.prediction.plausibility`).
        health: What the model has found in healthy scans with this preset, if it was recorded.
    """

    volume: Volume
    prepared: Prepared
    scores: SliceArray
    reconstruction: SliceArray
    tissue: TissueSlices | None
    preset: str = "literal"
    threshold: Threshold | None = None
    doubts: tuple[str, ...] = ()
    health: HealthyComponents | None = None

    @cached_property
    def _anomaly(self) -> VoxelArray:
        return self.prepared.to_native(self.scores)

    def anomaly_native(self, part: slice = WHOLE) -> VoxelArray:
        """``(I, J, K)`` anomaly scores in [0, 1], 0 outside the brain; of all the axis K or a part of it."""
        if len(cut_slabs(self.volume.shape)) == 1:  # kept, for it is asked for several times
            return self._anomaly[:, :, part]
        return self.prepared.to_native(self.scores, part)

    @cached_property
    def _components(self) -> Components | None:
        if self.threshold is None:
            return None
        scores = Slabs(self.volume.shape, np.dtype(np.float32), lambda part, _: self.anomaly_native(part))
        return find_lesions(scores, self.prepared.brain_native, self.volume.spacing, self.threshold)

    def components(self) -> Components | None:
        """The lesion mask's components, labelled once; ``None`` without a threshold."""
        return self._components

    @cached_property
    def findings(self) -> list[Finding]:
        """The components one by one, the largest first, with what they are and where; empty without a threshold."""
        return list_findings(self)

    def mask_native(self, part: slice = WHOLE) -> VoxelMask | None:
        """``(I, J, K)`` lesion mask (:mod:`semcycle.prediction.lesion_mask`); ``None`` without a threshold."""
        return None if self._components is None else self._components.labels[:, :, part] > 0

    @property
    def flags(self) -> list[str]:
        """What is doubtful about the scan, a remark each."""
        components, brain = self._components, self.prepared.record.brain
        lesions = judge_lesions(components.total_ml, brain.ml) if components else []
        return [*self.volume.warnings, *brain.warnings, *self.doubts, *lesions]

    def reconstruction_native(self, part: slice = WHOLE) -> VoxelArray:
        """``(I, J, K)`` reconstruction in the scan's own intensity units, background outside the brain."""
        return self.prepared.to_scanner(self.reconstruction, part)

    def tissue_native(self) -> NDArray[np.float32] | None:
        """``(I, J, K, 3)`` GM, WM, CSF in [0, 1], 0 outside the brain."""
        if self.tissue is None:
            return None
        return np.stack([self.tissue_map(index) for index in range(3)], axis=-1)

    def tissue_map(self, index: int, part: slice = WHOLE) -> VoxelArray:
        """``(I, J, K)`` probability of GM (0), WM (1) or CSF (2) in [0, 1], 0 outside the brain.

        Raises:
            PredictionError: The method has no tissue maps.
        """
        if self.tissue is None:
            msg = "expected a method with tissue maps, got one without"
            raise PredictionError(msg)
        return self.prepared.to_native(self.tissue[:, index], part)

    def to_nibabel(self, what: str = "anomaly") -> Any:
        """One of ``anomaly``, ``mask``, ``reconstruction``, ``tissue`` as a ``nibabel.Nifti1Image`` on the scan's grid.

        Raises:
            PredictionError: There is no such output, or this prediction has none.
        """
        outputs: dict[str, Callable[[], NDArray[Any] | None]] = {
            "anomaly": self.anomaly_native,
            "mask": self.mask_native,
            "reconstruction": self.reconstruction_native,
            "tissue": self.tissue_native,
        }
        data = outputs[what]() if what in outputs else None
        if data is None:
            msg = (
                f"expected one of {', '.join(outputs)} that this prediction has, got {what!r}; a mask needs a threshold"
            )
            raise PredictionError(msg)
        return as_nibabel(data, self.volume.affine)


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
    reconstruction = reconstruct_slices(checkpoint.method, prepared.image, prepared.brain, tta=tta)
    chosen = preset or checkpoint.preset
    pixel = prepared.record.grid.pixel_mm
    spacing = (ras_spacing(volume.affine)[2], pixel, pixel)
    prior = HealthyPrior.load(checkpoint.folder)
    scores = make_anomaly_map(prepared.image, reconstruction, prepared.brain, chosen, spacing, prior)
    largest = checkpoint.calibration.largest_residual if checkpoint.calibration else None
    doubts = tuple(judge_scan(volume, prepared, reconstruction, spacing, largest))
    health = checkpoint.calibration.health.get(chosen) if checkpoint.calibration else None
    image, tissue = reconstruction.image, reconstruction.tissue
    return Prediction(volume, prepared, scores, image, tissue, chosen, threshold, doubts, health)
