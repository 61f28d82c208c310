"""Dense bottleneck between the unified encoder and decoder, and the auto-encoders that have it or do without."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from semcycle.methods.networks.unified import UnifiedDecoder, UnifiedEncoder, UnifiedNorm, glorot

NARROW, WIDE = 16, 128
"""Channels next to the dense layers, and of the decoder's input."""

Noise = Callable[[Tensor], Tensor]
"""Mean of a latent -> standard normal numbers that broadcast to it; ``torch.zeros_like`` takes the mean itself."""


def flat(resolution: int) -> int:
    """Length of the vector between the convolutions and the dense layers."""
    return NARROW * resolution**2


class Squeeze(nn.Sequential):
    """``(B, channels, r, r)`` to ``(B, 16 r r)`` by a 1 x 1 convolution.

    Args:
        channels: Of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(nn.Conv2d(channels, NARROW, 1), nn.Flatten())


class Expand(nn.Sequential):
    """``(B, latents)`` to ``(B, 128, r, r)`` by a dense layer and a 1 x 1 convolution.

    Args:
        latents: Of the input.
        resolution: r.
        dropout: After the dense layer.
    """

    def __init__(self, latents: int, resolution: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(latents, flat(resolution)),
            nn.Dropout(dropout),
            nn.Unflatten(1, (NARROW, resolution, resolution)),
            nn.Conv2d(NARROW, WIDE, 1),
        )


class DenseAutoencoder(nn.Sequential):
    """``(B, 1, size, size)`` to the same shape through a vector of ``latents``; no last activation.

    Args:
        size: Side of the image.
        resolution: r, side of the encoder's map.
        norm: Of encoder and decoder.
        latents: Length of the vector.
        dropout: Of the vector.
    """

    def __init__(self, size: int, resolution: int, norm: UnifiedNorm, latents: int, dropout: float) -> None:
        encoder = UnifiedEncoder(size, resolution, norm)
        super().__init__(
            encoder,
            Squeeze(encoder.channels),
            nn.Linear(flat(resolution), latents),
            nn.Dropout(dropout),
            Expand(latents, resolution),
            UnifiedDecoder(size, resolution, norm),
        )
        glorot(self)


class SpatialAutoencoder(nn.Sequential):
    """``(B, 1, size, size)`` to the same shape through the encoder's map; no last activation.

    Args:
        size: Side of the image.
        resolution: r, side of the map.
        norm: Of encoder and decoder.
        dropout: Of the map's single values.
    """

    def __init__(self, size: int, resolution: int, norm: UnifiedNorm, dropout: float) -> None:
        encoder = UnifiedEncoder(size, resolution, norm)
        super().__init__(encoder, nn.Dropout(dropout), UnifiedDecoder(size, resolution, norm, encoder.channels))


class VariationalAutoencoder(nn.Module):
    """Encoder with two dense heads, and decoder.

    Args:
        size: Side of the image.
        resolution: r, side of the encoder's map.
        norm: Of encoder and decoder.
        latents: Dimensions of z.
        dropout: Of the mean, the log standard deviation and the decoder's dense layer.
    """

    def __init__(self, size: int, resolution: int, norm: UnifiedNorm, latents: int, dropout: float) -> None:
        super().__init__()
        encoder = UnifiedEncoder(size, resolution, norm)
        self.encoder = nn.Sequential(encoder, Squeeze(encoder.channels))
        self.mean, self.log_sigma = nn.Linear(flat(resolution), latents), nn.Linear(flat(resolution), latents)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Sequential(Expand(latents, resolution, dropout), UnifiedDecoder(size, resolution, norm))
        glorot(self)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """q(z | x): ``(B, 1, size, size)`` to mean and log standard deviation, ``(B, latents)`` each."""
        features = self.encoder(x)
        return self.dropout(self.mean(features)), self.dropout(self.log_sigma(features))

    def decode(self, z: Tensor) -> Tensor:
        """``(B, latents)`` to ``(B, 1, size, size)``, not clamped."""
        image: Tensor = self.decoder(z)
        return image

    def forward(self, x: Tensor, noise: Noise = torch.randn_like) -> tuple[Tensor, Tensor, Tensor]:
        """``(B, 1, size, size)`` to its reconstruction from z = mean + noise * sigma, mean and log sigma."""
        mean, log_sigma = self.encode(x)
        return self.decode(mean + noise(mean) * log_sigma.exp()), mean, log_sigma
