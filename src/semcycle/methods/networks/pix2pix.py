"""pix2pix's U-Net generator for images of 128 px."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from semcycle.methods.networks.blocks import OUTPUTS, Norm, Output, check_size, choose, make_norm, needs_bias


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
