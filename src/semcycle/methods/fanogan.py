"""f-AnoGAN [schlegl2019].

A Wasserstein GAN learns to paint healthy slices, G(z), z ~ N(0, I). An encoder E then learns to find the z of a slice,
so that G(E(x)) is the healthy slice nearest to x; what differs is anomalous. Stage ``gan`` trains G against the critic
D with a gradient penalty (WGAN-GP, [gulrajani2017]); stage ``encoder`` trains E alone ("izi_f" of the paper):

    L_D = mean D(G(z)) - mean D(x) + gp_weight * mean (slope - 1)^2
    L_G = -mean D(G(z))
    L_E = mean (x - G(E(x)))^2 + kappa * mean (f(x) - f(G(E(x))))^2        f: features of D

Where the authors' code, that of [baur2021] ("Baur", on which [li2021] says its comparison is based) and this file
differ:

* Networks. The authors: residual, 64 x 64 pixels, images in [-1, 1], one value of D an image. Baur: the "unified"
  strided convolutions with r x r values of D. Here Baur's, with ``critic_head`` for the authors' single value.
* Gradient penalty. Baur takes the norm over each column of pixels, the authors over the whole image. Here
  ``gp_norm``, by default the whole image.
* Order. The authors: 5 critic steps, a new batch each, and then one of G. Baur, and here: one step of G and then
  ``critic_steps`` of D on the same batch, each with a new z.
* Optimisers. The authors: Adam with betas (0, 0.9), and RMSprop for E. Baur, and here: Adam (0.5, 0.9) for all three.
* While E learns, Baur drops out in G too. Here G and D are in evaluation mode.
* Baur stops E early on the validation L1. Here both stages have a fixed length.
* Score. The authors judge images by both terms of L_E. Baur, and here: pixels, by the residual alone.
* Lesions that are left out of training are black for D in real and in generated images; E's losses skip them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from semcycle.config import Beta, Config
from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step, TrainedSettings
from semcycle.methods.networks.baur import NARROW, SLOPE, WIDE, UnifiedDecoder, UnifiedEncoder, glorot
from semcycle.types import ImageBatch, MaskBatch


class GanSettings(TrainedSettings):
    """G, D and their training."""

    betas: tuple[Beta, Beta] = (0.5, 0.9)
    critic_head: Literal["per_location", "flatten"] = "per_location"
    """D's last layer: a value for every location of the feature maps, or one for the image."""
    critic_steps: int = Field(5, ge=1, le=1000)
    """D's steps on a batch, after G's one."""
    gp_norm: Literal["full", "column"] = "full"
    """Slope of D over all pixels of an image, or over each column of pixels ([baur2021])."""
    gp_weight: float = Field(10.0, ge=0)
    """Weight of the gradient penalty."""


class EncoderSettings(TrainedSettings):
    """E's training."""

    betas: tuple[Beta, Beta] = (0.5, 0.9)
    kappa: float = Field(1.0, ge=0)
    """Weight of the features' error; 0 trains on the image alone ("izi")."""


class FAnoGANSettings(Config):
    """The method's part of a recipe."""

    size: int = Field(128, ge=2, le=1024)
    """Side of the slices in pixels; the dense layers depend on it."""
    resolution: int = Field(8, ge=1, le=1024)
    """r, side of the maps before the dense layers."""
    latents: int = Field(128, ge=1, le=65_536)
    """Dimensions of z (zDim)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of E's latents and of G's first layer."""
    leaky_slope: float = Field(0.3, ge=0, lt=1)
    """Slope of the Leaky ReLUs below 0, as in Baur's code."""
    gan: GanSettings = GanSettings()
    """G and D."""
    encoder: EncoderSettings = EncoderSettings()
    """E."""


class LatentEncoder(nn.Sequential):
    """E: ``(B, 1, size, size)`` to ``(B, latents)`` in (-1, 1).

    Args:
        size: Side of the image.
        resolution: Side of the bottleneck's maps, r.
        latents: Dimensions of z.
        dropout: Of the latents, in training.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self,
        size: int = 128,
        resolution: int = 8,
        latents: int = 128,
        dropout: float = 0.1,
        *,
        slope: float = SLOPE,
    ) -> None:
        body = UnifiedEncoder(size, resolution, "affine", slope=slope)
        super().__init__(
            body,
            nn.Conv2d(body.channels, NARROW, 1),
            nn.Flatten(),
            nn.Linear(NARROW * resolution**2, latents),
            nn.Dropout(dropout),
            nn.Tanh(),
        )
        glorot(self)


class LatentGenerator(nn.Sequential):
    """G: ``(B, latents)`` to ``(B, 1, size, size)`` in (0, 1).

    Args:
        size: Side of the image.
        resolution: Side of the bottleneck's maps, r.
        latents: Dimensions of z.
        dropout: Of the dense layer's output, in training.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self,
        size: int = 128,
        resolution: int = 8,
        latents: int = 128,
        dropout: float = 0.1,
        *,
        slope: float = SLOPE,
    ) -> None:
        super().__init__(
            nn.Linear(latents, NARROW * resolution**2),
            nn.Dropout(dropout),
            nn.Unflatten(1, (NARROW, resolution, resolution)),
            nn.Conv2d(NARROW, WIDE, 1),
            UnifiedDecoder(size, resolution, "layer", slope=slope),
            nn.Sigmoid(),
        )
        glorot(self)


class Critic(nn.Module):
    """D: an unbounded value for every location of an image's feature maps, or one for the image.

    Args:
        size: Side of the image.
        resolution: Side of the feature maps, r.
        head: ``per_location``: a dense layer over the channels; ``flatten``: over all features.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self,
        size: int = 128,
        resolution: int = 8,
        head: Literal["per_location", "flatten"] = "per_location",
        *,
        slope: float = SLOPE,
    ) -> None:
        super().__init__()
        self.body = UnifiedEncoder(size, resolution, "layer", slope=slope)
        kernel = 1 if head == "per_location" else resolution  # a kernel as large as the maps is a dense layer
        self.head = nn.Conv2d(self.body.channels, 1, kernel)
        glorot(self.head)
        if head == "flatten":  # Glorot counts the inputs and the one output, not the kernel's area twice
            limit = math.sqrt(6 / (self.head.weight[0].numel() + 1))
            nn.init.uniform_(self.head.weight, -limit, limit)

    def features(self, x: Tensor) -> Tensor:
        """f: ``(B, 1, size, size)`` to ``(B, C, r, r)``."""
        maps: Tensor = self.body(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 1, size, size)`` to ``(B, 1, r, r)``, or to ``(B, 1, 1, 1)`` with one value an image."""
        value: Tensor = self.head(self.features(x))
        return value


class FAnoGAN(Method[FAnoGANSettings]):
    """Fast unsupervised anomaly detection with generative adversarial networks.

    Args:
        settings: Sizes and readings.
    """

    paper = "schlegl2019"
    Settings = FAnoGANSettings

    def __init__(self, settings: FAnoGANSettings) -> None:
        super().__init__(settings)
        s = settings
        self.E = LatentEncoder(s.size, s.resolution, s.latents, s.dropout, slope=s.leaky_slope)
        self.G = LatentGenerator(s.size, s.resolution, s.latents, s.dropout, slope=s.leaky_slope)
        self.D = Critic(s.size, s.resolution, s.gan.critic_head, slope=s.leaky_slope)

    def stages(self) -> list[Stage]:
        """G against D, then E alone."""
        gan, encoder = self.settings.gan, self.settings.encoder
        everything = self.settings.model_dump(mode="json")
        without_encoder = {name: value for name, value in everything.items() if name != "encoder"}
        players = {name: gan.player(name) for name in ("G", "D")}
        return [
            Stage("gan", gan.epochs, players, {"method": without_encoder}, monitor=""),
            Stage("encoder", encoder.epochs, {"E": encoder.player("E")}, {"method": everything}),
        ]

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """One step of G and ``critic_steps`` of D, or one of E."""
        self._check(batch.x)
        if stage == "gan":
            yield self._generator_step(batch)
            for _ in range(self.settings.gan.critic_steps):
                yield self._critic_step(batch)
        else:
            yield self._encoder_step(batch)

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """G(E(x))."""
        self._check(x)
        self.eval()
        return Reconstruction(self.G(self.E(x)).clamp(0, 1))

    @torch.no_grad()
    def sample(self, stage: str, batch: Batch) -> Reconstruction:
        """While the GAN learns, what G paints from the same few z every time; then the reconstruction."""
        if stage == "gan":
            self.eval()
            return Reconstruction(self._generate(batch.x, seed=0))
        return self.reconstruct(batch.x, batch.brain)

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """While the GAN learns, D's estimate of the distance, mean D(x) - mean D(G(z)); then the L1 in the brain."""
        if stage != "gan":
            return super().validate(stage, batch)
        self.eval()
        fake = self._generate(batch.x, seed=0)
        return {"wasserstein": self.D(batch.x * batch.valid).mean() - self.D(fake * batch.valid).mean()}

    def _check(self, x: ImageBatch) -> None:
        height, width = x.shape[2:]
        size = self.settings.size
        if (height, width) != (size, size):
            msg = f"expected slices of {size} x {size} pixels, got {height} x {width}; set method.size to {height}"
            raise ValueError(msg)

    def _generate(self, like: ImageBatch, seed: int | None = None) -> ImageBatch:
        """G(z) for as many z as ``like`` has slices: new ones, or those that belong to a seed."""
        shape = (len(like), self.settings.latents)
        if seed is None:
            z = torch.randn(shape, device=like.device)
        else:
            z = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(like.device)
        image: Tensor = self.G(z)
        return image

    def _generator_step(self, batch: Batch) -> Step:
        self.D.requires_grad_(False)  # G's step needs D's gradient with respect to the image only
        loss = -self.D(self._generate(batch.x) * batch.valid).mean()
        self.D.requires_grad_(True)
        return Step("G", loss, {"generator": loss})

    def _critic_step(self, batch: Batch) -> Step:
        gan = self.settings.gan
        with torch.no_grad():
            fake = self._generate(batch.x) * batch.valid
        real = batch.x * batch.valid
        distance = self.D(real).mean() - self.D(fake).mean()
        penalty = gradient_penalty(self.D, real, fake, gan.gp_norm)
        # the loop's curves are sums over a batch's steps
        log = {"wasserstein": distance / gan.critic_steps, "gradient_penalty": penalty / gan.critic_steps}
        return Step("D", gan.gp_weight * penalty - distance, log)

    def _encoder_step(self, batch: Batch) -> Step:
        """izi_f: E learns through G and D, which stay as they are."""
        self.G.requires_grad_(False)
        self.D.requires_grad_(False)
        image = self.G(self.E(batch.x))
        count = batch.valid.sum().clamp_min(1)
        error = ((batch.x - image).square() * batch.valid).sum() / count
        features = self.D.features(batch.x * batch.valid) - self.D.features(image * batch.valid)
        self.G.requires_grad_(True)
        self.D.requires_grad_(True)
        difference = features.square().mean()
        return Step("E", error + self.settings.encoder.kappa * difference, {"image": error, "features": difference})


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, norm: Literal["full", "column"] = "full") -> Tensor:
    """How far the critic's slopes between real and generated images are from 1: mean (slope - 1)^2.

    Args:
        critic: Any map of images to values; all values of an image are summed.
        real: ``(B, 1, H, W)``.
        fake: ``(B, 1, H, W)``; no gradient reaches what made it.
        norm: ``full``: one slope an image, over all pixels, as WGAN-GP [gulrajani2017] defines it; ``column``: one a
            column, over the image's height alone, as in the code of [baur2021].

    Returns:
        Scalar that can be differentiated again.
    """
    with torch.autocast(real.device.type, enabled=False):  # squares of small slopes need full precision
        real, fake = real.detach().float(), fake.detach().float()
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (real + share * (fake - real)).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        squares = gradient.square().sum(dim=(1, 2, 3) if norm == "full" else 2)
        slopes = squares.clamp_min(1e-12).sqrt()  # the root has no slope at 0
        return (slopes - 1).square().mean()
