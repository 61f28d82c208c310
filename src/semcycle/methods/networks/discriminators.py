"""Discriminators: PatchGAN judges overlapping patches, the pixel discriminator single pixels."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from semcycle.methods.networks.blocks import Norm, make_norm, needs_bias


class PatchGAN(nn.Module):
    """C64-C128-C256-C512 of 4x4 convolutions with LeakyReLU(0.2), then one logit a patch (A5).

    The first ``layers`` convolutions have stride 2. No norm in the first layer; instance norm without scale and
    shift, as in CycleGAN [zhu2017]; convolution bias unless batch or group norm follows. [isola2017], appendix.

    Args:
        in_channels: Image channels, and those of the condition where there is one.
        base: Channels of the first layer; at most 8 times as many later.
        layers: Strided layers; 1, 2, 3, 4, 5 of them let a logit see 16, 34, 70, 142, 286 pixels; instance
            norm adds the whole image's mean and variance.
        norm: Normalisation.

    Raises:
        ValueError: Unknown norm, or fewer than one layer.
    """

    def __init__(self, in_channels: int = 1, base: int = 64, layers: int = 3, norm: Norm = "instance") -> None:
        super().__init__()
        if layers < 1:
            msg = f"PatchGAN: expected at least 1 strided layer, got {layers}; use the pixel discriminator for fewer"
            raise ValueError(msg)
        self.layers = layers
        widths = [base * min(2**level, 8) for level in range(layers + 1)]
        parts: list[nn.Module] = []
        for level, (i, o) in enumerate(zip([in_channels, *widths], widths, strict=False)):
            kind: Norm = norm if level else "none"
            stride = 2 if level < layers else 1
            parts += [nn.Conv2d(i, o, 4, stride, padding=1, bias=needs_bias(kind)), make_norm(kind, o)]
            parts.append(nn.LeakyReLU(0.2, inplace=True))
        self.body = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Judge every patch.

        Args:
            x: ``(B, in_channels, H, W)``, any size of at least ``3 * 2**layers``.

        Returns:
            Logits ``(B, 1, H // 2**layers - 2, W // 2**layers - 2)``: 14x14 for 128 px and 3 layers.

        Raises:
            ValueError: The image is too small.
        """
        height, width = x.shape[-2:]
        least = 3 * 2**self.layers
        if min(height, width) < least:
            msg = (
                f"PatchGAN: expected at least {least}x{least} pixels for {self.layers} layers, "
                f"got {height}x{width}; use fewer layers or larger slices"
            )
            raise ValueError(msg)
        logits: Tensor = self.body(x)
        return logits


class PixelDiscriminator(nn.Module):
    """1x1 convolutions C64-C128, then one logit a pixel: judges grey values only.

    Args:
        in_channels: Image channels, and those of the condition where there is one.
        base: Channels of the first layer.
        norm: Normalisation of the second layer, as in :class:`PatchGAN`.

    Raises:
        ValueError: Unknown norm.
    """

    def __init__(self, in_channels: int = 1, base: int = 64, norm: Norm = "instance") -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, base, 1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(base, 2 * base, 1, bias=needs_bias(norm)),
            make_norm(norm, 2 * base),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(2 * base, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in_channels, H, W)`` -> logits ``(B, 1, H, W)``."""
        logits: Tensor = self.body(x)
        return logits


DISCRIMINATORS: dict[str, Callable[..., nn.Module]] = {"patchgan": PatchGAN, "pixel": PixelDiscriminator}
"""Name -> discriminator: image -> logits; all take ``in_channels``, ``base`` and ``norm``."""
