"""U-Net: the segmenter S of the cycle, image -> tissue logits."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from semcycle.methods.networks.blocks import Norm, check_size, conv_layer


class UNet(nn.Module):
    """U-Net with zero-padded convolutions, so that output and input have the same size (A12).

    Each level has two 3x3 convolutions with norm and ReLU (no convolution bias where there is a norm); the way
    up has 2x2 transposed convolutions. The original [ronneberger2015] pads nothing and has no norm.

    Args:
        in_channels: Of the image.
        classes: Output channels.
        base: Channels of the first level; doubled by each pooling.
        norm: Normalisation after every 3x3 convolution; instance norm learns scale and shift.
        dropout: Probability of dropping whole feature maps at the end of the contracting path (the two lowest
            levels) in training; adds no parameters.
        poolings: Levels below the first.

    Raises:
        ValueError: Unknown norm, or fewer than one pooling.
    """

    def __init__(
        self,
        in_channels: int = 1,
        classes: int = 4,
        base: int = 64,
        norm: Norm = "batch",
        dropout: float = 0.0,
        poolings: int = 4,
    ) -> None:
        super().__init__()
        if poolings < 1:
            msg = f"UNet: expected at least 1 pooling, got {poolings}; use the usual 4"
            raise ValueError(msg)
        self.multiple = 2**poolings
        widths = [base * 2**level for level in range(poolings + 1)]
        self.encoder = nn.ModuleList(
            _double_conv(i, o, norm) for i, o in zip([in_channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout2d(dropout)
        upwards = widths[::-1]
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 2, stride=2) for i, o in pairwise(upwards))
        self.decoder = nn.ModuleList(_double_conv(2 * o, o, norm) for o in upwards[1:])
        self.head = nn.Conv2d(base, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            x: ``(B, in_channels, H, W)``; H and W multiples of ``2**poolings``.

        Returns:
            ``(B, classes, H, W)``, before the softmax.

        Raises:
            ValueError: H or W is no such multiple.
        """
        check_size(x, self.multiple, self.multiple, "UNet")
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(self.pool(x) if level else x)
            if level >= len(self.encoder) - 2:
                x = self.dropout(x)
            skips.append(x)
        for up, block, skip in zip(self.up, self.decoder, skips[-2::-1], strict=True):
            x = block(torch.cat([skip, up(x)], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _double_conv(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    bias = norm == "none"
    return nn.Sequential(
        conv_layer(in_channels, out_channels, 3, norm, mode="zeros", bias=bias, instance_affine=True),
        conv_layer(out_channels, out_channels, 3, norm, mode="zeros", bias=bias, instance_affine=True),
    )
