"""Auto-encoder [baur2018].

A network with a narrow middle learns healthy slices; what it cannot repeat is anomalous: r = |x - x_hat|. The networks
are those of the authors' comparative study [baur2021]. Only its public code was compared, not the texts:

* Normalisation: its batch norm never leaves inference mode. As here with ``norm: affine``; ``batch`` is what was meant.
* Dropout: of the latents alone; the decoder's dropout is never switched on there. As here.
* Loss: sum of absolute differences over the slice. As here, lesions left out.
* Training: there it ends after 5 epochs without progress on validation slices. Here after a fixed number of epochs.
* Score: there the positive part x - x_hat, post-processed. Here that is a scoring preset; x_hat is clamped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step, TrainedSettings, one_stage
from semcycle.methods.networks.baur import DenseAutoencoder, SpatialAutoencoder, UnifiedNorm
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.types import ImageBatch, MaskBatch


class UnifiedSettings(TrainedSettings):
    """Settings of the methods on the networks of [baur2021]."""

    size: int = Field(128, ge=2, le=1024)
    """Side of the slices."""
    resolution: int = Field(8, ge=1, le=1024)
    """Side of the encoder's map."""
    norm: UnifiedNorm = "affine"
    """Of encoder and decoder; ``affine`` is what Baur's code does, whose batch norm never trains."""
    leaky_slope: float = Field(0.3, ge=0, lt=1)
    """Slope of the Leaky ReLUs below 0; Baur's code has 0.3, Keras' default."""
    flip: bool = False
    """Mirror left and right with probability 1/2."""


class AutoencoderSettings(UnifiedSettings):
    """The method's part of a recipe."""

    variant: Literal["dense", "spatial"] = "dense"
    """One latent vector a slice, or the encoder's map as bottleneck (8 x 8 x 128 numbers, half as many as pixels)."""
    z: int = Field(128, ge=1, le=65_536)
    """Length of the latent vector; the spatial variant has none."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of the latents."""


class Autoencoder(Method[AutoencoderSettings]):
    """Auto-encoder with a dense or a spatial bottleneck.

    Args:
        settings: Variant and sizes.
    """

    paper = "baur2018"
    Settings = AutoencoderSettings
    networks = ("net",)

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__(settings)
        s = settings
        if s.variant == "dense":
            self.net: DenseAutoencoder | SpatialAutoencoder = DenseAutoencoder(
                s.size, s.resolution, s.norm, s.z, s.dropout, slope=s.leaky_slope
            )
        else:
            self.net = SpatialAutoencoder(s.size, s.resolution, s.norm, s.dropout, slope=s.leaky_slope)

    def stages(self) -> list[Stage]:
        """One."""
        return one_stage("autoencoder", self.settings)

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """|x - x_hat| summed over pixels, a mean over the batch."""
        batch = augment_geometry(batch, AugmentSettings(flip=self.settings.flip))
        loss = l1_sum(batch.x, self.net(batch.x), batch.valid).mean()
        yield Step("net", loss, {"l1": loss})

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """x_hat."""
        self.eval()
        return Reconstruction(self.net(x).clamp(0, 1))


def l1_sum(x: ImageBatch, image: ImageBatch, valid: MaskBatch) -> Tensor:
    """|x - x_hat| of each slice summed over the pixels that count, ``(B,)``."""
    return ((x - image).abs() * valid).flatten(1).sum(dim=1)
