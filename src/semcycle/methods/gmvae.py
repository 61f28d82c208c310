"""Gaussian-mixture VAE with image restoration [you2019].

The model is the GMVAE of [dilokthanakul2016]. An auto-encoder with a learned mixture prior gives a bound on the
likelihood of healthy slices; a slice is restored by descending it in image space, and what the restoration changed is
anomalous. Only the codes of [you2019] ("You") and of [baur2021] ("Baur") were compared, not the texts:

* Network: the dense and the spatial variant of Baur, whose spatial decoder reads the encoder's map, so that z is
  mere decoration; here it reads z, and ``faithful_decoder`` restores that. The 3 x 3 network of You is as Baur has it.
* p(c | z, w): both codes subtract the log-precision in the logits where the Gaussian density adds half of it
  (``prior_sign``).
* Likelihood: L1 sum as in Baur; You learns a variance, which is not here, and restores with squared errors
  (``restore_error``).
* Restoration: the total variation is that of x - x_hat (Baur) or of the change x_input - x (You),
  see ``tv_reference``. The search for ``tv_lambda`` on validation slices is left out. Slices are restored in batches
  but each on its own; Baur draws new latents in every step, here ``test_latent`` decides. The result is clamped to
  [0, 1].
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from semcycle.config import MAX_SEED, Count
from semcycle.methods.autoencoder import UnifiedSettings, l1_sum
from semcycle.methods.base import Batch, Method, Reconstruction, Stage, Step, one_stage
from semcycle.methods.networks.baur import (
    NARROW,
    SLOPE,
    WIDE,
    Noise,
    UnifiedDecoder,
    UnifiedEncoder,
    UnifiedNorm,
    glorot,
    seeded_noise,
)
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.types import ImageBatch, MaskBatch

PriorSign = Literal["correct", "faithful"]
HIDDEN = 64
"""Channels of the spatial prior's hidden layer."""


class GMVAESettings(UnifiedSettings):
    """The method's part of a recipe."""

    variant: Literal["dense", "spatial", "you"] = "dense"
    """One latent vector a slice; one a location of the encoder's map; or one a location of You's 3 x 3 network, whose
    map has a quarter of the slice's side whatever ``resolution``, ``norm`` and ``leaky_slope`` say (A27)."""
    classes: int = Field(9, ge=1, le=4096)
    """K, components of the mixture."""
    z: int | None = Field(None, ge=1, le=65_536)
    """Channels of z; by default 128 (dense) or 1 a location."""
    w: int = Field(1, ge=1, le=65_536)
    """Channels of w."""
    faithful_decoder: bool = False
    """Spatial: decode the encoder's map as in Baur's code, instead of z."""
    dropout: float = Field(0.1, ge=0, lt=1)
    """On the mean and log-variance of w, the mean of z and the dense decoder's first layer."""
    prior_sign: PriorSign = "correct"
    """Sign and weight of the log-precision in p(c | z, w): +1/2, or -1 as in both codes."""
    c_lambda: float = Field(1.0, ge=0)
    """Floor of the class prior's term in nats, below which it pulls no more; You 0.5."""
    test_latent: Literal["mean", "sample"] = "mean"
    """Latents when reconstructing and restoring: their means, or drawn anew in every step as in Baur's code."""
    test_seed: int = Field(0, ge=0, le=MAX_SEED)
    """Of the draws; all slices get the same ones, so that a slice does not depend on its batch."""
    restore_steps: int = Field(150, ge=0, le=100_000)
    """Gradient steps on the image; 0 returns the plain reconstruction x_hat. Baur's code 150, its notebook 10."""
    restore_lr: float = Field(1e-3, gt=0)
    """Length of a step."""
    restore_first: tuple[Count, float] | None = None
    """So many first steps have another length; You 100 of 5e-3."""
    restore_error: Literal["l1", "squares"] = "l1"
    """Distance of x and x_hat when restoring: the L1 sum of the training (Baur), or the sum of squares (You)."""
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
        if self.faithful_decoder and self.variant != "spatial":
            msg = (
                f"expected faithful_decoder false with variant {self.variant} (its decoder always reads z), got true; "
                "set variant: spatial"
            )
            raise ValueError(msg)
        return self


class MixtureLatents(NamedTuple):
    """What the network makes of ``(B, 1, size, size)``; L is the latents' side: 1 (dense) or r (spatial).

    Attributes:
        image: ``(B, 1, size, size)``, x_hat, not clamped.
        w_mean: ``(B, w, L, L)`` of q(w | x).
        w_logvar: ``(B, w, L, L)`` of q(w | x).
        z: ``(B, z, L, L)`` drawn from q(z | x).
        z_mean: ``(B, z, L, L)`` of q(z | x).
        z_logvar: ``(B, z, L, L)`` of q(z | x).
        mu: ``(B, K, z, L, L)`` means of p(z | w, c).
        log_precision: ``(B, K, z, L, L)`` log-precisions of p(z | w, c).
    """

    image: Tensor
    w_mean: Tensor
    w_logvar: Tensor
    z: Tensor
    z_mean: Tensor
    z_logvar: Tensor
    mu: Tensor
    log_precision: Tensor


class GaussianMixtureVAE(nn.Module):
    """Image -> latents w and z, mixture prior p(z | w, c), image from z.

    Every head is a 1 x 1 convolution; the dense variant is one location with the flattened map as channels.

    Args:
        variant: One latent vector an image, one a location of the encoder's map, or one a location of You's network.
        size: Side of the image.
        resolution: r, side of the encoder's map.
        norm: Of encoder and decoder.
        classes: K, components of the mixture.
        z: Channels of z.
        w: Channels of w.
        dropout: On the mean and log-variance of w, the mean of z and the dense decoder's first layer.
        from_features: Decode the encoder's map instead of z (spatial only).
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self,
        variant: Literal["dense", "spatial", "you"] = "dense",
        size: int = 128,
        resolution: int = 8,
        norm: UnifiedNorm = "affine",
        classes: int = 9,
        z: int = 128,
        w: int = 1,
        dropout: float = 0.1,
        from_features: bool = False,
        *,
        slope: float = SLOPE,
    ) -> None:
        super().__init__()
        self.classes, self.from_features = classes, from_features
        self.encoder: nn.Module
        if variant == "you":
            self.encoder, features = encoder_of_you(), HIDDEN
        else:
            self.encoder = UnifiedEncoder(size, resolution, norm, slope=slope)
            features = self.encoder.channels
        mapped = features
        self.neck, self.widen = nn.Sequential(), nn.Sequential()
        self.hidden, wide = nn.Sequential(), w
        if variant == "dense":
            flat, grid = NARROW * resolution**2, (NARROW, resolution, resolution)
            self.neck = nn.Sequential(nn.Conv2d(features, NARROW, 1), nn.Flatten(), nn.Unflatten(1, (flat, 1, 1)))
            self.widen = nn.Sequential(
                nn.Conv2d(z, flat, 1),
                nn.Dropout(dropout),
                nn.Flatten(),
                nn.Unflatten(1, grid),
                nn.Conv2d(NARROW, WIDE, 1),
            )
            features = flat
        else:
            self.hidden, wide = nn.Sequential(nn.Conv2d(w, HIDDEN, 1), nn.ReLU()), HIDDEN
            if variant == "spatial" and not from_features:
                self.widen = nn.Sequential(nn.Conv2d(z, WIDE, 1))
        self.w_mean, self.w_logvar = nn.Conv2d(features, w, 1), nn.Conv2d(features, w, 1)
        self.z_mean, self.z_logvar = nn.Conv2d(features, z, 1), nn.Conv2d(features, z, 1)
        self.mu, self.log_precision = nn.Conv2d(wide, classes * z, 1), nn.Conv2d(wide, classes * z, 1)
        self.offset = nn.Parameter(torch.full((classes * z, 1, 1), 0.1))
        self.dropout = nn.Dropout(dropout)
        self.decoder: nn.Module
        if variant == "you":
            self.decoder = decoder_of_you(z)
        else:
            self.decoder = UnifiedDecoder(size, resolution, norm, mapped if from_features else WIDE, slope=slope)
        glorot(self)

    def forward(self, x: Tensor, noise: Noise = torch.randn_like) -> MixtureLatents:
        """``(B, 1, size, size)`` to its latents, their prior and its reconstruction."""
        features = self.encoder(x)
        flat = self.neck(features)
        w_mean, w_logvar = self.dropout(self.w_mean(flat)), self.dropout(self.w_logvar(flat))
        z_mean, z_logvar = self.dropout(self.z_mean(flat)), self.z_logvar(flat)
        w = w_mean + noise(w_mean) * torch.exp(0.5 * w_logvar)
        z = z_mean + noise(z_mean) * torch.exp(0.5 * z_logvar)
        hidden = self.hidden(w)
        components = (self.classes, -1)
        mu = self.mu(hidden).unflatten(1, components)
        log_precision = (self.log_precision(hidden) + self.offset).unflatten(1, components)
        image = self.decoder(features if self.from_features else self.widen(z))
        return MixtureLatents(image, w_mean, w_logvar, z, z_mean, z_logvar, mu, log_precision)


def encoder_of_you() -> nn.Sequential:
    """``(B, 1, H, W)`` to ``(B, 64, H / 4, W / 4)`` by six 3 x 3 convolutions."""
    layers: list[nn.Module] = []
    for number, stride in enumerate((2, 1, 1, 2, 1, 1)):
        if stride == 2:  # TensorFlow's "same" padding of an even size
            layers.append(nn.ZeroPad2d((0, 1, 0, 1)))
        conv = nn.Conv2d(HIDDEN if number else 1, HIDDEN, 3, stride, padding=0 if stride == 2 else 1)
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers)


def decoder_of_you(z: int) -> nn.Sequential:
    """``(B, z, L, L)`` to ``(B, 1, 4 L, 4 L)``: twice a convolution, two transposed ones and doubled pixels."""
    layers: list[nn.Module] = []
    for channels in (z, HIDDEN):
        layers += [nn.Conv2d(channels, HIDDEN, 3, padding=1), nn.ReLU()]
        for _ in range(2):
            layers += [nn.ConvTranspose2d(HIDDEN, HIDDEN, 3, padding=1), nn.ReLU()]
        layers.append(nn.Upsample(scale_factor=2))
    return nn.Sequential(*layers, nn.Conv2d(HIDDEN, HIDDEN, 3, padding=1), nn.Conv2d(HIDDEN, 1, 3, padding=1))


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
        sizes = (s.size, s.resolution, s.norm, s.classes, z, s.w)
        self.net = GaussianMixtureVAE(s.variant, *sizes, s.dropout, s.faithful_decoder, slope=s.leaky_slope)

    def stages(self) -> list[Stage]:
        """One stage; how slices are restored later does not change it."""
        return one_stage("gmvae", self.settings, later=("restore_", "tv_", "test_"))

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
        first, length = s.restore_first or (0, 0.0)
        for step in range(s.restore_steps):
            with torch.enable_grad():
                moving = current.detach().requires_grad_()
                (gradient,) = torch.autograd.grad(self.restoration_objective(moving, x, noise).sum(), moving)
            if s.restore_clip is not None:
                gradient = gradient.clamp(-s.restore_clip, s.restore_clip)
            size = length if step < first else s.restore_lr
            current = moving.detach() - size * (gradient * brain if s.restore_in_brain else gradient)
        return current

    def restoration_objective(self, x: ImageBatch, original: ImageBatch, noise: Noise = torch.zeros_like) -> Tensor:
        """What the restoration of each slice descends, ``(B,)``."""
        mixture = self.net(x, noise)
        terms = self._terms(mixture, x, torch.ones_like(x))
        if self.settings.restore_error == "squares":
            terms = terms._replace(reconstruction=(x - mixture.image).square().flatten(1).sum(dim=1))
        objective = terms.total
        if not self.settings.tv_lambda:
            return objective
        reference = mixture.image if self.settings.tv_reference == "reconstruction" else original
        return objective + self.settings.tv_lambda * total_variation(x - reference)

    def _terms(self, mixture: MixtureLatents, x: ImageBatch, valid: MaskBatch) -> Terms:
        return negative_bound(mixture, x, valid, self.settings.c_lambda, self.settings.prior_sign)

    def _noise(self) -> Noise:
        return torch.zeros_like if self.settings.test_latent == "mean" else seeded_noise(self.settings.test_seed)


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
    mixture: MixtureLatents, x: ImageBatch, valid: MaskBatch, c_lambda: float = 1.0, sign: PriorSign = "correct"
) -> Terms:
    """|x - x_hat| summed over valid pixels, and the divergences from the priors of z, w and c summed over locations."""
    posterior = class_posterior(mixture.z, mixture.mu, mixture.log_precision, sign)
    z_mean, z_logvar = mixture.z_mean.unsqueeze(1), mixture.z_logvar.unsqueeze(1)
    spread = (z_logvar.exp() + (z_mean - mixture.mu) ** 2) * (mixture.log_precision.exp() + 1e-6)
    divergence = 0.5 * (spread - mixture.log_precision - z_logvar - 1)
    c_divergence = (posterior * torch.log(posterior * posterior.shape[1] + 1e-8)).sum(dim=1)
    return Terms(
        l1_sum(x, mixture.image, valid),
        (posterior.unsqueeze(2) * divergence).flatten(1).sum(dim=1),
        0.5 * (mixture.w_mean**2 + mixture.w_logvar.exp() - mixture.w_logvar - 1).flatten(1).sum(dim=1),
        c_divergence.clamp_min(c_lambda).flatten(1).sum(dim=1),
    )


def total_variation(image: ImageBatch) -> Tensor:
    """Anisotropic: sum of absolute differences of neighbours, ``(B,)``."""
    return image.diff(dim=-1).abs().flatten(1).sum(dim=1) + image.diff(dim=-2).abs().flatten(1).sum(dim=1)
