"""Reconstruction: a method run over a scan's slices, a batch at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcycle.methods.base import Method, Reconstructed, Reconstruction
from semcycle.types import SliceArray, SliceMask

BATCHES = {"cpu": 8}
"""Slices at a time by kind of device: on a CPU so many that what is between two layers stays in its cache."""
BATCH = 32
"""On other devices."""


def reconstruct_slices(
    method: Method[Any], x: SliceArray, brain: SliceMask, batch_size: int | None = None, *, tta: bool = False
) -> Reconstructed:
    """Run a method over slices.

    Args:
        method: In any mode, on any device.
        x: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``; slices without brain are not run and come back as 0.
        batch_size: Slices at a time; what suits the device without.
        tta: Take the mean with the reconstruction of the mirrored slices.

    Returns:
        Reconstruction, and tissue maps and a score of its own where the method has them.
    """
    device = next((parameter.device for parameter in method.parameters()), torch.device("cpu"))
    batch_size = batch_size or BATCHES.get(device.type, BATCH)
    image = np.zeros(x.shape, np.float32)
    tissue: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    for start in range(0, len(shown), batch_size):
        batch = shown[start : start + batch_size]
        images = torch.from_numpy(np.ascontiguousarray(x[batch, None], np.float32)).to(device)
        masks = torch.from_numpy(brain[batch, None].astype(np.float32)).to(device)
        reconstruction = method.reconstruct(images, masks)
        if tta:
            reconstruction = _mean(reconstruction, method.reconstruct(images.flip(-1), masks.flip(-1)))
        image[batch] = reconstruction.image[:, 0].float().cpu().numpy()
        if reconstruction.tissue is not None:
            if tissue is None:
                tissue = np.zeros((len(x), 3, *x.shape[1:]), np.float32)
            tissue[batch] = reconstruction.tissue.float().cpu().numpy()
        if reconstruction.score is not None:
            if score is None:
                score = np.zeros(x.shape, np.float32)
            score[batch] = reconstruction.score[:, 0].float().clamp(0, 1).cpu().numpy()
    return method.finish(x, brain, Reconstructed(image, tissue, score))


def _mean(straight: Reconstruction, mirrored: Reconstruction) -> Reconstruction:
    """Mean with what was made of the mirrored slices."""
    parts = zip(straight, mirrored, strict=True)
    means = [None if a is None or b is None else (a + b.flip(-1)) / 2 for a, b in parts]
    return Reconstruction(*means)  # type: ignore[arg-type]  # the image is never None
