"""Intensity: the brighter, the more suspicious. No training; the floor every method has to beat.

On T2 lesions are bright, and so is CSF. A black reconstruction makes the residual the image itself, so
that the baseline goes through exactly the pipeline of the trained methods. [meissen2021] equalise the scan's
histogram first and take what comes out as the score: the setting ``equalise``.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from semcycle.config import Config
from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step
from semcycle.types import ImageBatch, MaskBatch


class IntensitySettings(Config):
    """The intensity baseline's part of a recipe."""

    equalise: bool = False
    """Score by the intensity's rank among the slice's brain pixels instead of by the intensity. The paper equalises
    whole scans; a method gets slices, so each slice is equalised by itself here, and its brightest pixel scores 1
    whether the slice holds a lesion or not."""


class Intensity(Method[IntensitySettings]):
    """Reconstructs every slice as black, so that r = |x - 0| = x."""

    paper = "meissen2021"
    Settings = IntensitySettings

    def stages(self) -> list[Stage]:
        """Nothing to train."""
        return []

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """Nothing to train."""
        return iter(())

    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """Black; with ``equalise``, the equalised slices are the score."""
        return Reconstruction(torch.zeros_like(x), score=equalised(x, brain) if self.settings.equalise else None)


def equalised(x: ImageBatch, brain: MaskBatch) -> ImageBatch:
    """Equalise the histogram of every slice by itself.

    The limit of ever finer histogram bins: a pixel becomes the share of the slice's brain pixels that are not brighter.

    Args:
        x: ``(B, 1, H, W)`` intensities.
        brain: ``(B, 1, H, W)`` 0 or 1.

    Returns:
        ``(B, 1, H, W)`` in (0, 1] in the brain and 0 outside; equal intensities stay equal.
    """
    inside = brain.flatten(1) > 0
    value = x.flatten(1).float()
    ordered = torch.where(inside, value, torch.inf).sort(dim=1).values
    not_brighter = torch.searchsorted(ordered, value.contiguous(), right=True)
    share = not_brighter / inside.sum(dim=1, keepdim=True).clamp_min(1)
    return (share * inside).view_as(x)
