"""CycleGAN's residual generator: the other reading of "generator by Johnson"."""

from __future__ import annotations

from torch import Tensor, nn

from semcycle.methods.networks.blocks import (
    OUTPUTS,
    Norm,
    Output,
    ResidualBlock,
    check_size,
    choose,
    conv_layer,
    deconv_layer,
    needs_bias,
)


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
        check_size(y, 4, 8, "CycleGANGenerator")
        image: Tensor = self.output(self.head(self.body(y)))
        return image
