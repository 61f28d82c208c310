"""Generators: tissue maps -> image in [0, 1]. The readings of "generator by Johnson" (A4), and pix2pix's U-Net."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from semcycle.methods.networks.blocks import (
    OUTPUTS,
    Norm,
    Output,
    PaddingMode,
    ResidualBlock,
    check_size,
    choose,
    conv_layer,
    deconv_layer,
    make_norm,
    needs_bias,
)

Padding: TypeAlias = Literal["reflect", "zero", "replicate", "reflect_start"]
Upsample: TypeAlias = Literal["deconv", "nearest"]

_MODES: dict[str, PaddingMode] = {
    "reflect": "reflect",
    "zero": "zeros",
    "replicate": "replicate",
    "reflect_start": "zeros",
}


class JohnsonGenerator(nn.Module):
    """c9s1-32, d64, d128, R128 x 5, u64, u32, c9s1-1 (A4).

    All convolutions have a bias, and all but the last norm and ReLU. Batch norm is what the text says; instance
    norm would take the mean out of almost constant tissue maps slice by slice. [johnson2016],
    supplement, table 1.

    Args:
        in_channels: Tissue channels.
        base: Channels of the first layer; 2 and 4 times as many below.
        blocks: Residual blocks.
        norm: Normalisation; instance norm learns scale and shift.
        padding: Of every convolution, or ``reflect_start``: the image is reflected once at the start (40 px
            for 5 blocks), the residual blocks are not padded and eat it up again, the rest is zero-padded.
        upsample: Transposed convolutions, or nearest neighbour followed by a 3x3 convolution (same
            parameters, no checkerboard).
        output: Last activation (A6).
        out_channels: Of the image.

    Raises:
        ValueError: Unknown norm, padding, upsampling or output.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base: int = 32,
        blocks: int = 5,
        norm: Norm = "batch",
        padding: Padding = "reflect",
        upsample: Upsample = "deconv",
        output: Output = "sigmoid",
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        mode = choose(_MODES, padding, "padding")
        valid = padding == "reflect_start"
        # two unpadded 3x3 convolutions a block, at a quarter of the resolution
        self.border = 8 * blocks if valid else 0
        self.multiple = 4
        residual_mode = None if valid else mode
        self.start = nn.ReflectionPad2d(self.border)
        self.down = nn.Sequential(
            conv_layer(in_channels, base, 9, norm, mode=mode, instance_affine=True),
            conv_layer(base, 2 * base, 3, norm, stride=2, mode=mode, instance_affine=True),
            conv_layer(2 * base, 4 * base, 3, norm, stride=2, mode=mode, instance_affine=True),
        )
        self.blocks = nn.Sequential(
            *(ResidualBlock(4 * base, norm, mode=residual_mode, instance_affine=True) for _ in range(blocks))
        )
        self.up = nn.Sequential(
            _upsample_layer(4 * base, 2 * base, norm, upsample, mode),
            _upsample_layer(2 * base, base, norm, upsample, mode),
        )
        self.head = nn.Conv2d(base, out_channels, 9, padding=4, padding_mode=mode)
        self.output = choose(OUTPUTS, output, "output")()

    def forward(self, y: Tensor) -> Tensor:
        """Paint an image from tissue maps.

        Args:
            y: ``(B, in_channels, H, W)``, probabilities; H and W multiples of 4.

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1], unbounded with ``output="none"``.

        Raises:
            ValueError: H or W is no such multiple, or too small to be reflected.
        """
        check_size(y, self.multiple, max(8, self.border + 1), "JohnsonGenerator")
        image: Tensor = self.output(self.head(self.up(self.blocks(self.down(self.start(y))))))
        return image


def _upsample_layer(
    in_channels: int, out_channels: int, norm: Norm, upsample: Upsample, mode: PaddingMode
) -> nn.Sequential:
    if upsample == "deconv":
        return deconv_layer(in_channels, out_channels, norm, instance_affine=True)
    if upsample == "nearest":
        conv = conv_layer(in_channels, out_channels, 3, norm, mode=mode, instance_affine=True)
        return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *conv)
    msg = f"upsample: expected one of deconv, nearest, got {upsample!r}; choose one of these"
    raise ValueError(msg)


class CycleGANGenerator(nn.Module):
    """c7s1-64, d128, d256, R256 x 6 or 9, u128, u64, c7s1-1 with reflection (A4).

    Instance norm has no scale and shift; convolutions have no bias before batch and group norm. The strided
    convolutions are zero-padded. [zhu2017], appendix.

    Args:
        in_channels: Tissue channels.
        base: Channels of the first layer; 2 and 4 times as many below.
        blocks: Residual blocks: 6 for images of 128 px, 9 for 256 px.
        norm: Normalisation.
        output: Last activation (A6).
        out_channels: Of the image.

    Raises:
        ValueError: Unknown norm or output.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base: int = 64,
        blocks: int = 6,
        norm: Norm = "instance",
        output: Output = "sigmoid",
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        bias = needs_bias(norm)
        self.multiple = 4
        self.body = nn.Sequential(
            conv_layer(in_channels, base, 7, norm, bias=bias),
            conv_layer(base, 2 * base, 3, norm, stride=2, mode="zeros", bias=bias),
            conv_layer(2 * base, 4 * base, 3, norm, stride=2, mode="zeros", bias=bias),
            *(ResidualBlock(4 * base, norm, bias=bias) for _ in range(blocks)),
            deconv_layer(4 * base, 2 * base, norm, bias=bias),
            deconv_layer(2 * base, base, norm, bias=bias),
        )
        self.head = nn.Conv2d(base, out_channels, 7, padding=3, padding_mode="reflect")
        self.output = choose(OUTPUTS, output, "output")()

    def forward(self, y: Tensor) -> Tensor:
        """Paint an image from tissue maps.

        Args:
            y: ``(B, in_channels, H, W)``, probabilities; H and W multiples of 4.

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1], unbounded with ``output="none"``.

        Raises:
            ValueError: H or W is no such multiple, or too small to be reflected.
        """
        check_size(y, self.multiple, 8, "CycleGANGenerator")
        image: Tensor = self.output(self.head(self.body(y)))
        return image


class Pix2PixUNet128(nn.Module):
    """Encoder C64-C128-C256-C512-C512-C512-C512 of strided 4x4 convolutions, decoder with skips (A4).

    LeakyReLU(0.2) on the way down, ReLU on the way up; no norm after the first and the last encoder layer;
    instance norm without scale and shift; convolution bias unless batch or group norm follows. [isola2017],
    appendix.

    Args:
        in_channels: Tissue channels.
        base: Channels of the first layer; at most 8 times as many below.
        norm: Normalisation.
        output: Last activation (A6).
        dropout: Dropout of single activations in the two decoder layers after the innermost in training
            (pix2pix: 0.5, its only source of noise; the cycle's paper mentions no noise).
        out_channels: Of the image.
        downs: Strided layers; 7 bring 128 px to 1.

    Raises:
        ValueError: Unknown norm or output, or fewer than 2 strided layers.
    """

    def __init__(
        self,
        in_channels: int = 3,
        base: int = 64,
        norm: Norm = "batch",
        output: Output = "sigmoid",
        dropout: float = 0.0,
        out_channels: int = 1,
        downs: int = 7,
    ) -> None:
        super().__init__()
        if downs < 2:
            msg = f"Pix2PixUNet128: expected at least 2 strided layers, got {downs}; use 7 for 128 px"
            raise ValueError(msg)
        self.multiple = 2**downs
        widths = [base * min(2**level, 8) for level in range(downs)]
        last = downs - 1
        self.down = nn.ModuleList(
            _down_layer(i, o, norm if 0 < level < last else "none", activate=level > 0)
            for level, (i, o) in enumerate(zip([in_channels, *widths], widths, strict=False))
        )
        self.up = nn.ModuleList(
            _up_layer(
                widths[level] * (1 if level == last else 2), widths[level - 1], norm, dropout * (3 < level < last)
            )
            for level in range(last, 0, -1)
        )
        self.head = _up_layer(2 * base, out_channels, "none")
        self.output = choose(OUTPUTS, output, "output")()

    def forward(self, y: Tensor) -> Tensor:
        """Paint an image from tissue maps.

        Args:
            y: ``(B, in_channels, H, W)``, probabilities; H and W multiples of ``2**downs``.

        Returns:
            ``(B, out_channels, H, W)`` in [0, 1], unbounded with ``output="none"``.

        Raises:
            ValueError: H or W is no such multiple.
        """
        check_size(y, self.multiple, self.multiple, "Pix2PixUNet128")
        skips: list[Tensor] = []
        x = y
        for down in self.down:
            x = down(x)
            skips.append(x)
        for up, skip in zip(self.up, skips[-2::-1], strict=True):
            x = torch.cat([skip, up(x)], dim=1)
        image: Tensor = self.output(self.head(x))
        return image


def _down_layer(in_channels: int, out_channels: int, norm: Norm, *, activate: bool) -> nn.Sequential:
    # the activation must not work in place: its input is also the skip
    return nn.Sequential(
        nn.LeakyReLU(0.2) if activate else nn.Identity(),
        nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1, bias=needs_bias(norm)),
        make_norm(norm, out_channels),
    )


def _up_layer(in_channels: int, out_channels: int, norm: Norm, dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.ReLU(),
        nn.ConvTranspose2d(in_channels, out_channels, 4, stride=2, padding=1, bias=needs_bias(norm)),
        make_norm(norm, out_channels),
        nn.Dropout(dropout),
    )


GENERATORS: dict[str, Callable[..., nn.Module]] = {
    "johnson": JohnsonGenerator,
    "cyclegan6": partial(CycleGANGenerator, blocks=6),
    "cyclegan9": partial(CycleGANGenerator, blocks=9),
    "pix2pix_unet128": Pix2PixUNet128,
}
"""Name -> generator; all take ``in_channels``, ``base``, ``norm``, ``output`` and ``out_channels``."""
