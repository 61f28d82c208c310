"""Gaussian-mixture VAE with image restoration [you2019].

The model is the GMVAE of [dilokthanakul2016]. An auto-encoder with a learned mixture prior gives a bound on the
likelihood of healthy slices; a slice is restored by descending it in image space, and what the restoration changed is
anomalous. Only the codes of [you2019] ("You") and of [baur2021] ("Baur") were compared, not the texts:

* Network: the dense and the spatial variant of Baur, whose spatial decoder reads the encoder's map, so that z is
  mere decoration; here it reads z, and ``faithful_decoder`` restores that. The 3 x 3 network of You is not here.
* p(c | z, w): both codes subtract the log-precision in the logits where the Gaussian density adds half of it
  (``prior_sign``).
* Likelihood: L1 sum as in Baur; You learns a variance and, when restoring, uses squared errors.
* Restoration: the total variation is that of x - x_hat (Baur) or of the change x_input - x (You),
  see ``tv_reference``. The search for ``tv_lambda`` on validation slices is left out, and so is the second step size of
  You (5e-3 in the first 100 of 500 steps, then 2e-3). Slices are restored in batches but each on its own;
  Baur draws new latents in every step, here ``test_latent`` decides. The result is clamped to [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor

from semcycle.config import Config
from semcycle.methods.base import Batch, Method, Player, Reconstruction, Stage, Step
from semcycle.methods.networks.gmvae import GaussianMixtureVAE, Mixture, Noise
from semcycle.methods.networks.unified import UnifiedNorm
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.types import ImageBatch, MaskBatch

PriorSign = Literal["correct", "faithful"]


class GMVAESettings(Config):
    """The method's part of a recipe."""

    variant: Literal["dense", "spatial"] = "dense"
    """One latent vector a slice, or one a location of the encoder's map."""
    size: int = Field(128, ge=2)
    """Side of the slices."""
    resolution: int = Field(8, ge=1)
    """Side of the encoder's map."""
    norm: UnifiedNorm = "affine"
    """Of encoder and decoder; ``affine`` is what Baur's code does, whose batch norm never trains."""
    classes: int = Field(9, ge=1)
    """K, components of the mixture."""
    z: int | None = Field(None, ge=1)
    """Channels of z; by default 128 (dense) or 1 a location (spatial)."""
    w: int = Field(1, ge=1)
    """Channels of w."""
    faithful_decoder: bool = False
    """Spatial: decode the encoder's map as in Baur's code, instead of z."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On the mean and log-variance of w, the mean of z and the dense decoder's first layer."""
    prior_sign: PriorSign = "correct"
    """Sign and weight of the log-precision in p(c | z, w): +1/2, or -1 as in both codes."""
    c_lambda: float = Field(1.0, ge=0)
    """Floor of the class prior's term in nats, below which it pulls no more; You 0.5."""
    epochs: int = Field(20, ge=0)
    """Passes over the training slices."""
    learning_rate: float = Field(1e-4, gt=0)
    """Adam's step size."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's decay rates."""
    flip: bool = False
    """Mirror left and right with probability 1/2."""
    test_latent: Literal["mean", "sample"] = "mean"
    """Latents when reconstructing and restoring: their means, or drawn anew in every step as in Baur's code."""
    test_seed: int = Field(0, ge=0)
    """Of the draws; all slices get the same ones, so that a slice does not depend on its batch."""
    restore_steps: int = Field(150, ge=0)
    """Gradient steps on the image; 0 returns the plain reconstruction x_hat. Baur's code 150, its notebook 10."""
    restore_lr: float = Field(1e-3, gt=0)
    """Length of a step."""
    tv_lambda: float = Field(1.8, ge=0)
    """Weight of the total variation when restoring; 1.8 in both codes, 0 in Baur's notebook."""
    tv_reference: Literal["reconstruction", "input"] = "reconstruction"
    """What the restored image is compared with there: x_hat (Baur) or the input (You)."""
    restore_clip: float | None = Field(None, gt=0)
    """Bound on the absolute gradient of a pixel; You 100."""
    restore_in_brain: bool = False
    """Change pixels of the brain only, as You does."""

    @model_validator(mode="after")
    def _only_spatial_decodes_features(self) -> GMVAESettings:
        if self.faithful_decoder and self.variant == "dense":
            msg = (
                "expected faithful_decoder false with the dense variant (its decoder always reads z), got true; set "
                "variant: spatial"
            )
            raise ValueError(msg)
        return self


class Terms(NamedTuple):
    """The negative bound on the log-likelihood, term by term, ``(B,)`` each."""

    reconstruction: Tensor
    z_prior: Tensor
    w_prior: Tensor
    c_prior: Tensor

    @property
    def total(self) -> Tensor:
        """``(B,)``."""
        return self.reconstruction + self.z_prior + self.w_prior + self.c_prior


class GMVAE(Method[GMVAESettings]):
    """Gaussian-mixture VAE whose image-space gradient restores slices.

    Args:
        settings: Sizes, readings of the paper, and the restoration.
    """

    paper = "you2019"
    Settings = GMVAESettings

    def __init__(self, settings: GMVAESettings) -> None:
        super().__init__(settings)
        s = settings
        z = s.z or (128 if s.variant == "dense" else 1)
        self.net = GaussianMixtureVAE(
            s.variant, s.size, s.resolution, s.norm, s.classes, z, s.w, s.dropout, s.faithful_decoder
        )

    def stages(self) -> list[Stage]:
        """One stage; how slices are restored later does not change it."""
        s = self.settings
        later = {name for name in GMVAESettings.model_fields if name.startswith(("restore_", "tv_", "test_"))}
        player = Player(("net",), s.learning_rate, s.betas)
        return [Stage("gmvae", s.epochs, {"net": player}, {"method": s.model_dump(mode="json", exclude=later)})]

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """The negative bound, a mean over the batch."""
        batch = augment_geometry(batch, AugmentSettings(flip=self.settings.flip))
        terms = self._terms(self.net(batch.x), batch.x, batch.valid)
        yield Step("net", terms.total.mean(), {name: term.mean() for name, term in terms._asdict().items()})

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """The restored slices; with 0 steps x_hat."""
        self.eval()
        image = self.restore(x, brain) if self.settings.restore_steps else self.net(x, self._noise()).image
        return Reconstruction(image.clamp(0, 1))

    @torch.no_grad()
    def sample(self, stage: str, batch: Batch) -> Reconstruction:
        """x_hat: what has been learnt, without the cost of restoring."""
        self.eval()
        return Reconstruction(self.net(batch.x, self._noise()).image.clamp(0, 1))

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """L1 of x_hat in the brain, outside lesions; that of a restored slice is small however little was learnt."""
        inside = batch.brain * batch.valid
        difference = (batch.x - self.sample(stage, batch).image).abs()
        return {"l1": (difference * inside).sum() / inside.sum().clamp_min(1)}

    def restore(self, x: ImageBatch, brain: MaskBatch) -> ImageBatch:
        """Descend from the input, x <- x - lr d/dx [-bound(x) + lambda TV]; ``(B, 1, H, W)``, not clamped."""
        s, noise, current = self.settings, self._noise(), x
        for _ in range(s.restore_steps):
            with torch.enable_grad():
                moving = current.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.restoration_objective(moving, x, noise).sum(), moving)
            if s.restore_clip is not None:
                gradient = gradient.clamp(-s.restore_clip, s.restore_clip)
            current = moving.detach() - s.restore_lr * (gradient * brain if s.restore_in_brain else gradient)
        return current

    def restoration_objective(self, x: ImageBatch, original: ImageBatch, noise: Noise = torch.zeros_like) -> Tensor:
        """What the restoration of each slice descends, ``(B,)``."""
        made = self.net(x, noise)
        objective = self._terms(made, x, torch.ones_like(x)).total
        if not self.settings.tv_lambda:
            return objective
        reference = made.image if self.settings.tv_reference == "reconstruction" else original
        return objective + self.settings.tv_lambda * total_variation(x - reference)

    def _terms(self, made: Mixture, x: ImageBatch, valid: MaskBatch) -> Terms:
        return negative_bound(made, x, valid, self.settings.c_lambda, self.settings.prior_sign)

    def _noise(self) -> Noise:
        if self.settings.test_latent == "mean":
            return torch.zeros_like
        generator = torch.Generator().manual_seed(self.settings.test_seed)

        def draw(mean: Tensor) -> Tensor:
            return torch.randn(1, *mean.shape[1:], generator=generator).to(mean)

        return draw


def class_posterior(z: Tensor, mu: Tensor, log_precision: Tensor, sign: PriorSign = "correct") -> Tensor:
    """p(c | z, w) under equal class weights.

    Args:
        z: ``(B, z, L, L)``.
        mu: ``(B, K, z, L, L)``.
        log_precision: ``(B, K, z, L, L)``.
        sign: Of the log-precision, see the settings.

    Returns:
        ``(B, K, L, L)``, sums to 1 over K.
    """
    weight = 0.5 if sign == "correct" else -1.0
    logits = -0.5 * (z.unsqueeze(1) - mu) ** 2 * log_precision.exp() + weight * log_precision
    return logits.sum(dim=2).softmax(dim=1)


def negative_bound(
    made: Mixture, x: ImageBatch, valid: MaskBatch, c_lambda: float = 1.0, sign: PriorSign = "correct"
) -> Terms:
    """|x - x_hat| summed over valid pixels, and the divergences from the priors of z, w and c summed over locations."""
    posterior = class_posterior(made.z, made.mu, made.log_precision, sign)
    z_mean, z_logvar = made.z_mean.unsqueeze(1), made.z_logvar.unsqueeze(1)
    spread = (z_logvar.exp() + (z_mean - made.mu) ** 2) * (made.log_precision.exp() + 1e-6)
    divergence = 0.5 * (spread - made.log_precision - z_logvar - 1)
    c_divergence = (posterior * torch.log(posterior * posterior.shape[1] + 1e-8)).sum(dim=1)
    return Terms(
        ((x - made.image).abs() * valid).flatten(1).sum(dim=1),
        (posterior.unsqueeze(2) * divergence).flatten(1).sum(dim=1),
        0.5 * (made.w_mean**2 + made.w_logvar.exp() - made.w_logvar - 1).flatten(1).sum(dim=1),
        c_divergence.clamp_min(c_lambda).flatten(1).sum(dim=1),
    )


def total_variation(image: ImageBatch) -> Tensor:
    """Anisotropic: sum of absolute differences of neighbours, ``(B,)``."""
    return image.diff(dim=-1).abs().flatten(1).sum(dim=1) + image.diff(dim=-2).abs().flatten(1).sum(dim=1)
