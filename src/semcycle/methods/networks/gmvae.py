"""Gaussian-mixture VAE: image -> latents w and z, mixture prior p(z | w, c), image from z.

Every head is a 1 x 1 convolution; the dense variant is the case of one location with the flattened map as channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from semcycle.methods.networks.unified import UnifiedDecoder, UnifiedEncoder, UnifiedNorm, glorot

Noise = Callable[[Tensor], Tensor]
"""Mean of a latent -> standard normal numbers that broadcast to it; ``torch.zeros_like`` takes the mean itself."""

NARROW, WIDE, HIDDEN = 16, 128, 64
"""Channels of the dense bottleneck, of the decoder's input, and of the spatial prior's hidden layer."""


class Mixture(NamedTuple):
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
    """Encoder, latent heads, mixture prior and decoder.

    Args:
        variant: One latent vector an image, or one a location of the encoder's map.
        size: Side of the image.
        resolution: r, side of the encoder's map.
        norm: Of encoder and decoder.
        classes: K, components of the mixture.
        z: Channels of z.
        w: Channels of w.
        dropout: On the mean and log-variance of w, the mean of z and the dense decoder's first layer.
        from_features: Decode the encoder's map instead of z (spatial only).
    """

    def __init__(
        self,
        variant: Literal["dense", "spatial"] = "dense",
        size: int = 128,
        resolution: int = 8,
        norm: UnifiedNorm = "affine",
        classes: int = 9,
        z: int = 128,
        w: int = 1,
        dropout: float = 0.1,
        from_features: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.from_features = classes, from_features
        self.encoder = UnifiedEncoder(size, resolution, norm)
        features = self.encoder.channels
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
            if not from_features:
                self.widen = nn.Sequential(nn.Conv2d(z, WIDE, 1))
        self.w_mean, self.w_logvar = nn.Conv2d(features, w, 1), nn.Conv2d(features, w, 1)
        self.z_mean, self.z_logvar = nn.Conv2d(features, z, 1), nn.Conv2d(features, z, 1)
        self.mu, self.log_precision = nn.Conv2d(wide, classes * z, 1), nn.Conv2d(wide, classes * z, 1)
        self.offset = nn.Parameter(torch.full((classes * z, 1, 1), 0.1))
        self.dropout = nn.Dropout(dropout)
        self.decoder = UnifiedDecoder(size, resolution, norm, self.encoder.channels if from_features else WIDE)
        glorot(self)

    def forward(self, x: Tensor, noise: Noise = torch.randn_like) -> Mixture:
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
        return Mixture(image, w_mean, w_logvar, z, z_mean, z_logvar, mu, log_precision)
