"""Networks that the auto-encoding baselines share, after the code of [baur2021]: encoder, decoder, bottlenecks.

Their "batch norm" never leaves inference mode, so that it is a learned scale and shift a channel (``affine`` here);
Leaky ReLU has slope 0.3; kernels are 5 x 5 with TensorFlow's padding, kernels Glorot-uniform, biases 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from semcycle.methods.networks.blocks import make_norm

UnifiedNorm = Literal["affine", "batch", "layer", "instance", "group"]
SLOPE = 0.3
EPSILON = 1e-3
NARROW, WIDE = 16, 128
"""Channels next to the dense layers, and of the decoder's input."""

Noise = Callable[[Tensor], Tensor]
"""Mean of a latent -> standard normal numbers that broadcast to it; ``torch.zeros_like`` takes the mean itself."""


class ChannelAffine(nn.Module):
    """Scale and shift a channel: batch norm with mean 0 and variance 1 for ever.

    Args:
        channels: Feature maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return x * (self.weight / math.sqrt(1 + EPSILON)) + self.bias


class MapNorm(nn.Module):
    """Their "layer norm": every map of every sample is standardised, then scaled and shifted pixel by pixel.

    Args:
        size: Side of the feature maps; all channels share one scale and one shift map.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, size, size))
        self.bias = nn.Parameter(torch.zeros(1, size, size))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return F.instance_norm(x, eps=EPSILON) * self.weight + self.bias


class SameConv(nn.Conv2d):
    """5 x 5 convolution with stride 2 and TensorFlow's "same" padding: 1 pixel before, 2 after.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 5, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', H / 2, W / 2)``."""
        return super().forward(F.pad(x, (1, 2, 1, 2)))


class SameTransposed(nn.ConvTranspose2d):
    """The transpose of :class:`SameConv`: 1 pixel is cut at the start, 2 at the end.

    Args:
        in_channels: Of the input.
        out_channels: Of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 5, stride=2)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """``(B, C, H, W)`` to ``(B, C', 2 H, 2 W)``."""
        return super().forward(x)[..., 1:-2, 1:-2]


class UnifiedEncoder(nn.Sequential):
    """``(B, 1, size, size)`` to ``(B, 128, r, r)`` by strided convolutions of 32, 64, 128, 128 channels.

    Args:
        size: Side of the image.
        resolution: r, a power of two below ``size``.
        norm: After every convolution.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self, size: int = 128, resolution: int = 8, norm: UnifiedNorm = "affine", *, slope: float = SLOPE
    ) -> None:
        layers: list[nn.Module] = []
        channels = 1
        for level in range(levels(size, resolution)):
            wide = min(128, 32 * 2**level)
            side = size // 2 ** (level + 1)
            layers += [SameConv(channels, wide), unified_norm(norm, wide, side), nn.LeakyReLU(slope)]
            channels = wide
        super().__init__(*layers)
        self.channels = channels
        glorot(self)


class UnifiedDecoder(nn.Sequential):
    """``(B, channels, r, r)`` to ``(B, 1, size, size)`` without a last activation.

    Args:
        size: Side of the image.
        resolution: r, a power of two below ``size``.
        norm: Before the first and after every transposed convolution.
        channels: Of the input.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self,
        size: int = 128,
        resolution: int = 8,
        norm: UnifiedNorm = "affine",
        channels: int = 128,
        *,
        slope: float = SLOPE,
    ) -> None:
        layers: list[nn.Module] = [unified_norm(norm, channels, resolution), nn.ReLU()]
        for level in range(levels(size, resolution)):
            wide = max(32, 128 // 2**level)
            side = resolution * 2 ** (level + 1)
            layers += [SameTransposed(channels, wide), unified_norm(norm, wide, side), nn.LeakyReLU(slope)]
            channels = wide
        super().__init__(*layers, nn.Conv2d(channels, 1, 1))
        glorot(self)


def levels(size: int, resolution: int) -> int:
    """How many halvings lead from ``size`` to ``resolution``.

    Raises:
        ValueError: They are not a power of two apart.
    """
    count = round(math.log2(size / resolution)) if size > resolution > 0 else 0
    if count < 1 or resolution * 2**count != size:
        msg = (
            f"expected an image side that is 2, 4, 8, ... times the bottleneck, got {size} and {resolution}; choose "
            "others"
        )
        raise ValueError(msg)
    return count


def unified_norm(norm: UnifiedNorm, channels: int, side: int) -> nn.Module:
    """The normalisation of this name for ``(B, channels, side, side)``."""
    if norm == "layer":
        return MapNorm(side)
    if norm == "affine":
        return ChannelAffine(channels)
    return nn.BatchNorm2d(channels, eps=EPSILON) if norm == "batch" else make_norm(norm, channels, instance_affine=True)


def glorot(module: nn.Module) -> nn.Module:
    """Initialise as TensorFlow does: kernels Glorot-uniform, biases 0; in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module


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
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self, size: int, resolution: int, norm: UnifiedNorm, latents: int, dropout: float, *, slope: float = SLOPE
    ) -> None:
        encoder = UnifiedEncoder(size, resolution, norm, slope=slope)
        super().__init__(
            encoder,
            Squeeze(encoder.channels),
            nn.Linear(flat(resolution), latents),
            nn.Dropout(dropout),
            Expand(latents, resolution),
            UnifiedDecoder(size, resolution, norm, slope=slope),
        )
        glorot(self)


class SpatialAutoencoder(nn.Sequential):
    """``(B, 1, size, size)`` to the same shape through the encoder's map; no last activation.

    Args:
        size: Side of the image.
        resolution: r, side of the map.
        norm: Of encoder and decoder.
        dropout: Of the map's single values.
        slope: Of the Leaky ReLUs.
    """

    def __init__(self, size: int, resolution: int, norm: UnifiedNorm, dropout: float, *, slope: float = SLOPE) -> None:
        encoder = UnifiedEncoder(size, resolution, norm, slope=slope)
        super().__init__(
            encoder, nn.Dropout(dropout), UnifiedDecoder(size, resolution, norm, encoder.channels, slope=slope)
        )


class VariationalAutoencoder(nn.Module):
    """Encoder with two dense heads, and decoder.

    Args:
        size: Side of the image.
        resolution: r, side of the encoder's map.
        norm: Of encoder and decoder.
        latents: Dimensions of z.
        dropout: Of the mean, the log standard deviation and the decoder's dense layer.
        slope: Of the Leaky ReLUs.
    """

    def __init__(
        self, size: int, resolution: int, norm: UnifiedNorm, latents: int, dropout: float, *, slope: float = SLOPE
    ) -> None:
        super().__init__()
        encoder = UnifiedEncoder(size, resolution, norm, slope=slope)
        self.encoder = nn.Sequential(encoder, Squeeze(encoder.channels))
        self.mean, self.log_sigma = nn.Linear(flat(resolution), latents), nn.Linear(flat(resolution), latents)
        self.dropout = nn.Dropout(dropout)
        self.decoder = nn.Sequential(
            Expand(latents, resolution, dropout), UnifiedDecoder(size, resolution, norm, slope=slope)
        )
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


def seeded_noise(seed: int) -> Noise:
    """Numbers that belong to a seed; all samples of a batch get the same, so that none depends on its batch."""
    generator = torch.Generator().manual_seed(seed)

    def draw(mean: Tensor) -> Tensor:
        return torch.randn(1, *mean.shape[1:], generator=generator).to(mean)

    return draw
