"""Intensity: the brighter, the more suspicious. No training; the floor every method has to beat.

On T2 lesions are bright, and so is CSF. A black reconstruction makes the residual the image itself, so
that the baseline goes through exactly the pipeline of the trained methods.
"""

from collections.abc import Iterator

import torch

from semcycle.methods.base import Batch, Config, Method, Reconstruction, Reference, Stage, Step
from semcycle.types import ImageBatch, MaskBatch


class IntensitySettings(Config):
    """The intensity baseline has no settings."""


class Intensity(Method[IntensitySettings]):
    """Reconstructs every slice as black, so that r = |x - 0| = x."""

    paper = Reference(
        "Meissen, Kaissis, Rueckert",
        "Challenging Current Semi-Supervised Anomaly Segmentation Methods for Brain MRI",
        2021,
        "https://arxiv.org/abs/2109.06023",
    )
    Settings = IntensitySettings

    def stages(self) -> list[Stage]:
        """Nothing to train."""
        return []

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """Nothing to train."""
        return iter(())

    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """Black."""
        return Reconstruction(torch.zeros_like(x))
