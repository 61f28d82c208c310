"""Lesion mask: what of an anomaly map is called lesion, by a seed and a growth threshold and a least volume.

The mask is made of the connected components of scores that reach ``grow``. A component stays when it has a voxel that
reaches ``value``, the seed, and is not too small. Where both thresholds are one, this is a plain cut without its
specks. With ``grow`` fixed, a higher seed only takes whole components away, so their number and volume cannot rise with
it: that is what the promises of a calibration rest on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from semcycle.training.calibration import Threshold
from semcycle.types import Spacing, VoxelArray, VoxelMask
from semcycle.volume.masks import blank_like, label_components, values_inside
from semcycle.volume.slabs import Slabs, as_slabs, cut_slabs


@dataclass(frozen=True)
class Components:
    """Connected components of a lesion mask (26 neighbours).

    Attributes:
        labels: ``(I, J, K)``, 0 outside the mask, ``n`` in its nth component.
        sizes_ml: ``(N,)`` their volumes.
    """

    labels: NDArray[np.int32]
    sizes_ml: NDArray[np.floating]

    @property
    def count(self) -> int:
        """How many."""
        return len(self.sizes_ml)

    @property
    def total_ml(self) -> float:
        """Their volume together."""
        return float(self.sizes_ml.sum())

    @property
    def largest_ml(self) -> float:
        """Volume of the largest, 0 without any."""
        return float(self.sizes_ml.max(initial=0))

    def largest(self) -> VoxelMask:
        """``(I, J, K)`` mask of the largest, empty without any."""
        return self.labels == (self.sizes_ml.argmax() + 1 if self.count else -1)


def find_components(
    scores: VoxelArray | Slabs, brain: VoxelMask, spacing: Spacing, grow: float
) -> tuple[Components, NDArray[np.float32]]:
    """Components of the brain's voxels whose score reaches ``grow``, and the highest score of each.

    Args:
        scores: ``(I, J, K)`` anomaly scores, as a whole or slab by slab.
        brain: ``(I, J, K)``.
        spacing: Voxel size in mm.
        grow: Score.

    Returns:
        N components and their ``(N,)`` peaks.
    """
    slabs = as_slabs(scores) if isinstance(scores, np.ndarray) else scores
    above, parts, values = blank_like(brain, brain.dtype), cut_slabs(brain.shape), []
    for part in parts:
        slab = np.asarray(slabs.make(part, 0), order="F" if above.flags.f_contiguous else "C")  # as the labels below
        above[:, :, part] = (slab >= grow) & brain[:, :, part]
        values.append(values_inside(slab, above[:, :, part]))
    labels, voxels = label_components(above, spacing)
    peaks = np.full(len(voxels) + 1, -np.inf, np.float32)
    for part, value in zip(parts, values, strict=True):
        np.maximum.at(peaks, values_inside(labels[:, :, part], above[:, :, part]), value)
    return Components(labels, voxels * float(np.prod(spacing)) / 1000), peaks[1:]


def find_lesions(scores: VoxelArray | Slabs, brain: VoxelMask, spacing: Spacing, threshold: Threshold) -> Components:
    """The components of an anomaly map that are called lesion.

    Args:
        scores: ``(I, J, K)`` anomaly scores on the scan's grid, as a whole or slab by slab.
        brain: ``(I, J, K)``.
        spacing: Voxel size in mm.
        threshold: Seed, growth threshold and least volume.
    """
    grow = threshold.value if threshold.grow is None else threshold.grow
    components, peaks = find_components(scores, brain, spacing, grow)
    kept = (peaks >= threshold.value) & (components.sizes_ml >= threshold.min_ml)
    numbers = np.concatenate([[0], np.where(kept, np.cumsum(kept), 0)]).astype(np.int32)
    labels = components.labels
    for slab in labels.T if labels.flags.f_contiguous else labels:
        if slab.any():  # what is never touched of a large array takes no memory
            slab[...] = numbers[slab]
    return Components(components.labels, components.sizes_ml[kept])
