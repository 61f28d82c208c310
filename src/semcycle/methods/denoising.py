"""Denoising autoencoder [kascenas2022].

A U-Net learns to take coarse Gaussian noise off healthy slices. The noise is about as large as lesions are, and at
test time the net takes lesions for it: the residual between the slice (nothing is added then) and its output is the
score. Skip connections keep healthy detail.

What the authors' code does, and what this file does otherwise:

* Noise: drawn on a 16 x 16 grid with standard deviation 0.2, interpolated bilinearly with the corners aligned, rolled
  by one random shift a batch (any number of pixels, around the edge), added in the brain; sums are not clamped. As
  here.
* Loss: squared error in the brain, as a mean over all pixels of the batch. As here, lesions left out too.
* Network: four levels of 64 to 512 channels with two convolutions each, weight-standardised, reflection-padded, each
  followed by swish and then group norm, and average pooling. Here :class:`semcycle.methods.networks.unet.UNet` with as
  many levels: zero padding, group norm and then ReLU, max pooling, no weight standardisation.
* Optimiser: Adam with AMSGrad, betas (0.9, 0.999), weight decay 1e-5, learning rate 1e-4 on a cosine that repeats
  every 200 rounds of 32 steps, 2100 rounds of batches of 16. Here plain Adam; the recipe's cosine falls once.
* Input: their four MR contrasts together. Here the one contrast of the store.
* Score: their brain mask is eroded and the residual median-filtered in the plane. Here that is a scoring preset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from semcycle.config import Beta
from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step, TrainedSettings, one_stage
from semcycle.methods.networks.blocks import Norm
from semcycle.methods.networks.unet import UNet
from semcycle.types import ImageBatch, MaskBatch


class DenoisingSettings(TrainedSettings):
    """The method's part of a recipe; the U-Net takes slices of any size that its poolings divide."""

    base: int = Field(64, ge=1, le=4096)
    """Channels of the U-Net's first level."""
    poolings: int = Field(3, ge=1, le=8)
    """Levels below the first."""
    norm: Norm = "group"
    """Normalisation after every convolution."""
    noise_std: float = Field(0.2, ge=0)
    """Standard deviation of the noise on its grid; interpolation lowers it between the grid's points."""
    noise_grid: int = Field(16, ge=2, le=1024)
    """Side of the grid the noise is drawn on."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)


class Denoising(Method[DenoisingSettings]):
    """Denoising autoencoder with coarse noise.

    Args:
        settings: Network and noise.
    """

    paper = "kascenas2022"
    Settings = DenoisingSettings
    networks = ("net",)

    def __init__(self, settings: DenoisingSettings) -> None:
        super().__init__(settings)
        self.net = UNet(1, 1, settings.base, settings.norm, poolings=settings.poolings)

    def stages(self) -> list[Stage]:
        """One."""
        return one_stage("denoising", self.settings)

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """One step on slices with noise."""
        loss = self._error(batch)
        yield Step("net", loss, {"l2": loss})

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """The net's output on the slices as they are; black outside the brain, where it never learned."""
        self.eval()
        return Reconstruction(self.net(x).clamp(0, 1) * brain)

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """L1 without noise, which an identity would bring to 0, and the loss on noisy slices, which it would not."""
        figures = super().validate(stage, batch)
        return {**figures, "l2": self._error(batch)}

    def add_noise(self, x: ImageBatch, brain: MaskBatch) -> ImageBatch:
        """Noise drawn on the grid, interpolated, shifted and added in the brain; the sum may leave [0, 1]."""
        height, width = x.shape[2:]
        side = self.settings.noise_grid
        grid = self.settings.noise_std * torch.randn(len(x), 1, side, side, device=x.device)
        noise = F.interpolate(grid, (height, width), mode="bilinear", align_corners=True)
        down, right = int(torch.randint(height, ())), int(torch.randint(width, ()))
        return x + noise.roll((down, right), dims=(2, 3)) * brain

    def _error(self, batch: Batch) -> Tensor:
        """Mean over all pixels of (x - net(x + n))^2 in the brain, lesions left out."""
        image = self.net(self.add_noise(batch.x, batch.brain))
        return ((batch.x - image).square() * batch.brain * batch.valid).mean()
