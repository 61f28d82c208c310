"""Johnson's image transformation network: the generator G of the cycle, tissue maps -> image."""

from __future__ import annotations

from typing import Literal, TypeAlias

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
        check_size(y, 4, max(8, self.border + 1), "JohnsonGenerator")
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
