"""Variational auto-encoder [zimmerer2019].

A slice's latents z are drawn from a normal distribution that is held close to the standard one. Anomalous is what is
not reconstructed, r = |x - x_hat|, or what would have to change for z to become likely: |d KL(q(z | x) || p(z)) / dx|.
The network is that of [baur2021], on whose code the cycle's paper says its comparison is based. Public codes were
compared, not the texts; "Baur" and "Zimmerer" stand for them:

* Network: as Baur; Zimmerer uses a smaller one without norm on 64 x 64 patches and 256 latents.
* Likelihood: L1 sum as Baur; Zimmerer takes a Gaussian of fixed standard deviation 1. Here lesions are
  left out.
* Dropout: as Baur, in training, of the mean, the log standard deviation (a dropped one means sigma 1) and the
  decoder's dense layer; Zimmerer has none.
* Start: sigma about 1 with Baur, whose biases start at 0; ``sigma_start`` lets z start with less noise.
* Latents at test time: Baur draws them, Zimmerer takes the mean; see ``test_latent``.
* Score: Baur the positive residual, a scoring preset here. Zimmerer (``score: kl_grad_residual``) scales
  the absolute gradient to [0, 1] over a batch, smooths it, and multiplies it by the squared error. Here it is smoothed
  first and then scaled over the brain of each slice by itself, so that a slice does not depend on its batch, and
  multiplied by the absolute residual. With ``kl_grad`` every slice's brain reaches 1, whether it holds a lesion or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from semcycle.config import MAX_SEED, Config
from semcycle.methods.autoencoder import UnifiedSettings, l1_sum
from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step, one_stage
from semcycle.methods.networks.baur import Noise, VariationalAutoencoder, seeded_noise
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.types import ImageBatch, MaskBatch


class VAESettings(UnifiedSettings):
    """The method's part of a recipe."""

    z: int = Field(128, ge=1, le=65_536)
    """Dimensions of z."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On the mean and log standard deviation of z and the decoder's dense layer."""
    sigma_start: float = Field(1.0, gt=0)
    """Standard deviation of z before training; about 1 in Baur's code. The noise then hides the slice from the decoder,
    which learns to ignore z and may paint black for hundreds of steps; a small one lets it see the slice at once."""
    kl_weight: float = Field(1.0, ge=0)
    """Factor on the divergence of z from its prior."""
    test_latent: Literal["mean", "sample"] = "mean"
    """z when reconstructing: its mean, or drawn as in Baur's code."""
    test_seed: int = Field(0, ge=0, le=MAX_SEED)
    """Of that draw; all slices get the same one, so that a slice does not depend on its batch."""
    score: Literal["residual", "kl_grad", "kl_grad_residual"] = "residual"
    """|x - x_hat|, the smoothed and scaled gradient of the divergence, or their product."""
    score_kernel: int = Field(7, ge=1, le=255)
    """Side in pixels of the Gaussian that smooths the gradient; odd."""
    score_sigma: float = Field(3.0, gt=0)
    """Its standard deviation in pixels."""

    @field_validator("score_kernel")
    @classmethod
    def _has_a_centre(cls, value: int) -> int:
        if value % 2 == 0:
            msg = f"expected an odd score_kernel, got {value}; use {value - 1} or {value + 1}"
            raise ValueError(msg)
        return value


class VAE(Method[VAESettings]):
    """Variational auto-encoder.

    Args:
        settings: Sizes, latents at test time and score.
    """

    paper = "zimmerer2019"
    Settings: ClassVar[type[Config]] = VAESettings
    stage: ClassVar[str] = "vae"
    """Name of the only training stage."""

    def __init__(self, settings: VAESettings) -> None:
        super().__init__(settings)
        s = settings
        self.net = VariationalAutoencoder(s.size, s.resolution, s.norm, s.z, s.dropout, slope=s.leaky_slope)
        nn.init.constant_(self.net.log_sigma.bias, math.log(settings.sigma_start))

    def stages(self) -> list[Stage]:
        """One; how slices are reconstructed and scored later does not change it."""
        return one_stage(self.stage, self.settings, later=("test_", "score"))

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """|x - x_hat| summed over pixels plus the divergence of z, a mean over the batch."""
        batch = augment_geometry(batch, AugmentSettings(flip=self.settings.flip))
        l1, kl = self.bound(batch)
        yield Step("net", l1 + self.settings.kl_weight * kl, {"l1": l1, "kl": kl})

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """x_hat, and a score where it is not the residual."""
        self.eval()
        image = self.net(x, self._noise())[0].clamp(0, 1)
        if self.settings.score == "residual":
            return Reconstruction(image)
        smooth = gaussian(self.kl_gradient(x), self.settings.score_kernel, self.settings.score_sigma)
        score = scale_in_brain(smooth, brain)
        return Reconstruction(image, score=score if self.settings.score == "kl_grad" else score * (x - image).abs())

    def bound(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The two terms of the negative bound on the log-likelihood, means over the batch: L1 sum and divergence."""
        image, mean, log_sigma = self.net(batch.x)
        return l1_sum(batch.x, image, batch.valid).mean(), kl_divergence(mean, log_sigma).mean()

    def kl_gradient(self, x: ImageBatch) -> ImageBatch:
        """|d KL(q(z | x) || p(z)) / dx|, ``(B, 1, H, W)``, also where gradients are off."""
        with torch.enable_grad():
            moving = x.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(kl_divergence(*self.net.encode(moving)).sum(), moving)
        return gradient.abs()

    def _noise(self) -> Noise:
        return torch.zeros_like if self.settings.test_latent == "mean" else seeded_noise(self.settings.test_seed)


def kl_divergence(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """Of N(mean, sigma^2) from N(0, 1), summed over the latents.

    Args:
        mean: ``(B, latents)``.
        log_sigma: ``(B, latents)``.

    Returns:
        ``(B,)``, not negative.
    """
    return 0.5 * (mean.square() + (2 * log_sigma).exp() - 2 * log_sigma - 1).sum(dim=1)


def gaussian(image: ImageBatch, kernel: int, sigma: float) -> ImageBatch:
    """Smooth ``(B, 1, H, W)`` by a Gaussian cut to ``kernel`` x ``kernel`` pixels of sum 1; 0 beyond the edge."""
    offset = torch.arange(kernel, device=image.device, dtype=image.dtype) - kernel // 2
    line = (-0.5 * (offset / sigma) ** 2).exp()
    line = line / line.sum()
    return F.conv2d(image, torch.outer(line, line).view(1, 1, kernel, kernel), padding=kernel // 2)


def scale_in_brain(image: ImageBatch, brain: MaskBatch) -> ImageBatch:
    """Map the range that ``(B, 1, H, W)`` has in each slice's brain to [0, 1]; 0 outside and where it is constant."""
    inside = brain > 0
    low = torch.where(inside, image, torch.inf).amin(dim=(1, 2, 3), keepdim=True)
    high = torch.where(inside, image, -torch.inf).amax(dim=(1, 2, 3), keepdim=True)
    scaled = (image - low) / (high - low).clamp_min(torch.finfo(image.dtype).tiny)
    return torch.where(inside, scaled, 0.0)
