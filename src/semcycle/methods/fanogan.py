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

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from semcycle.config import Config
from semcycle.methods.base import Batch, Method, Player, Reconstruction, Stage, Step
from semcycle.methods.networks.fanogan import Critic, LatentEncoder, LatentGenerator, gradient_penalty
from semcycle.types import ImageBatch, MaskBatch


class GanSettings(Config):
    """G, D and their training."""

    epochs: int = Field(20, ge=0)
    """Passes over the training slices."""
    critic_head: Literal["per_location", "flatten"] = "per_location"
    """D's last layer: a value for every location of the feature maps, or one for the image."""
    critic_steps: int = Field(5, ge=1)
    """D's steps on a batch, after G's one."""
    gp_norm: Literal["full", "column"] = "full"
    """Slope of D over all pixels of an image, or over each column of pixels ([baur2021])."""
    gp_weight: float = Field(10.0, ge=0)
    """Weight of the gradient penalty."""
    learning_rate: float = Field(1e-4, gt=0)
    """Adam's step size."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Adam's decay rates."""


class EncoderSettings(Config):
    """E's training."""

    epochs: int = Field(20, ge=0)
    """Passes over the training slices."""
    kappa: float = Field(1.0, ge=0)
    """Weight of the features' error; 0 trains on the image alone ("izi")."""
    learning_rate: float = Field(1e-4, gt=0)
    """Adam's step size."""
    betas: tuple[float, float] = (0.5, 0.9)
    """Adam's decay rates."""


class FAnoGANSettings(Config):
    """The method's part of a recipe."""

    size: int = Field(128, ge=2)
    """Side of the slices in pixels; the dense layers depend on it."""
    resolution: int = Field(8, ge=1)
    """r, side of the maps before the dense layers."""
    latents: int = Field(128, ge=1)
    """Dimensions of z (zDim)."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """Of E's latents and of G's first layer."""
    gan: GanSettings = GanSettings()
    """G and D."""
    encoder: EncoderSettings = EncoderSettings()
    """E."""


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
        self.E = LatentEncoder(s.size, s.resolution, s.latents, s.dropout)
        self.G = LatentGenerator(s.size, s.resolution, s.latents, s.dropout)
        self.D = Critic(s.size, s.resolution, s.gan.critic_head)

    def stages(self) -> list[Stage]:
        """G against D, then E alone."""
        gan, encoder = self.settings.gan, self.settings.encoder
        everything = self.settings.model_dump(mode="json")
        without_encoder = {name: value for name, value in everything.items() if name != "encoder"}
        players = {name: Player((name,), gan.learning_rate, gan.betas) for name in ("G", "D")}
        e = Player(("E",), encoder.learning_rate, encoder.betas)
        return [
            Stage("gan", gan.epochs, players, {"method": without_encoder}, monitor=""),
            Stage("encoder", encoder.epochs, {"E": e}, {"method": everything}),
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
        made = self.G(self.E(batch.x))
        count = batch.valid.sum().clamp_min(1)
        image = ((batch.x - made).square() * batch.valid).sum() / count
        features = self.D.features(batch.x * batch.valid) - self.D.features(made * batch.valid)
        self.G.requires_grad_(True)
        self.D.requires_grad_(True)
        error = features.square().mean()
        return Step("E", image + self.settings.encoder.kappa * error, {"image": image, "features": error})
