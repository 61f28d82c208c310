"""Encoder and decoder that the auto-encoding baselines share, after the code of [baur2021].

Their "batch norm" never leaves inference mode, so that it is a learned scale and shift a channel (``affine`` here);
Leaky ReLU has slope 0.3; kernels are 5 x 5 with TensorFlow's padding, kernels Glorot-uniform, biases 0.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UnifiedNorm = Literal["affine", "batch", "layer"]
SLOPE = 0.3
EPSILON = 1e-3


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
    """

    def __init__(self, size: int = 128, resolution: int = 8, norm: UnifiedNorm = "affine") -> None:
        layers: list[nn.Module] = []
        channels = 1
        for level in range(levels(size, resolution)):
            wide = min(128, 32 * 2**level)
            side = size // 2 ** (level + 1)
            layers += [SameConv(channels, wide), unified_norm(norm, wide, side), nn.LeakyReLU(SLOPE)]
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
    """

    def __init__(self, size: int = 128, resolution: int = 8, norm: UnifiedNorm = "affine", channels: int = 128) -> None:
        layers: list[nn.Module] = [unified_norm(norm, channels, resolution), nn.ReLU()]
        for level in range(levels(size, resolution)):
            wide = max(32, 128 // 2**level)
            side = resolution * 2 ** (level + 1)
            layers += [SameTransposed(channels, wide), unified_norm(norm, wide, side), nn.LeakyReLU(SLOPE)]
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
    return ChannelAffine(channels) if norm == "affine" else nn.BatchNorm2d(channels, eps=EPSILON)


def glorot(module: nn.Module) -> nn.Module:
    """Initialise as TensorFlow does: kernels Glorot-uniform, biases 0; in place."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module
