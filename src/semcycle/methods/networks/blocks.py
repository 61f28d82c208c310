"""Blocks the networks share: normalisation, convolution layers, output ranges, initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

from torch import Tensor, nn

Norm: TypeAlias = Literal["batch", "instance", "group", "none"]
Output: TypeAlias = Literal["sigmoid", "tanh", "none"]
PaddingMode: TypeAlias = Literal["zeros", "reflect", "replicate"]

T = TypeVar("T")


class UnitTanh(nn.Module):
    """tanh mapped to [0, 1]: (tanh(a) + 1) / 2 = sigmoid(2a)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, unbounded -> the same shape in [0, 1]."""
        return (2 * x).sigmoid()


NORMS: dict[str, Callable[[int, bool], nn.Module]] = {
    "batch": lambda channels, _: nn.BatchNorm2d(channels),
    "instance": lambda channels, affine: nn.InstanceNorm2d(channels, affine=affine),
    "group": lambda channels, _: nn.GroupNorm(math.gcd(8, max(1, channels // 4)), channels),
    "none": lambda channels, _: nn.Identity(),
}
"""Name -> normalisation of ``(channels, instance_affine)``."""

OUTPUTS: dict[str, Callable[[], nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": UnitTanh, "none": nn.Identity}
"""Name -> last activation of a generator; ``none`` leaves the image unbounded."""


def choose(table: dict[str, T], name: str, what: str) -> T:
    """Look a name up in a table of choices.

    Args:
        table: The choices.
        name: Key in it.
        what: What is being chosen, for the message.

    Raises:
        ValueError: The table does not have the name.
    """
    if name not in table:
        msg = f"{what}: expected one of {', '.join(table)}, got {name!r}; choose one of these"
        raise ValueError(msg)
    return table[name]


def make_norm(kind: Norm, channels: int, *, instance_affine: bool = False) -> nn.Module:
    """Make a normalisation layer.

    Args:
        kind: ``group`` takes the largest of 8, 4, 2, 1 groups of at least four channels; ``none`` is the identity.
        channels: Feature maps to normalise.
        instance_affine: Whether instance norm learns a scale and a shift. CycleGAN and PatchGAN do without;
            batch and group norm always have them.

    Raises:
        ValueError: Unknown kind.
    """
    return choose(NORMS, kind, "norm")(channels, instance_affine)


def needs_bias(norm: Norm) -> bool:
    """Whether a convolution before this norm has a bias in pix2pix and CycleGAN.

    Batch and group norm bring a shift of their own. Instance norm without affine undoes the bias; it is kept
    because the reference networks (and their parameter counts) have it.
    """
    return norm in ("instance", "none")


def conv_layer(
    in_channels: int,
    out_channels: int,
    kernel: int,
    norm: Norm,
    *,
    stride: int = 1,
    mode: PaddingMode = "reflect",
    bias: bool = True,
    instance_affine: bool = False,
) -> nn.Sequential:
    """Convolution that keeps the size (but for its stride), then norm and ReLU.

    The ``kernel // 2`` border pixels are filled as ``mode`` says; ``instance_affine`` as in :func:`make_norm`.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=bias, padding_mode=mode)
    return nn.Sequential(conv, make_norm(norm, out_channels, instance_affine=instance_affine), nn.ReLU(inplace=True))


def deconv_layer(
    in_channels: int, out_channels: int, norm: Norm, *, bias: bool = True, instance_affine: bool = False
) -> nn.Sequential:
    """Transposed 3x3 convolution that doubles the size ("stride 1/2"), then norm and ReLU."""
    conv = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
    return nn.Sequential(conv, make_norm(norm, out_channels, instance_affine=instance_affine), nn.ReLU(inplace=True))


class ResidualBlock(nn.Module):
    """x + norm(conv3(ReLU(norm(conv3(x))))), without a ReLU after the addition (Gross & Wilber).

    Args:
        channels: Of input and output.
        norm: Normalisation after both convolutions.
        mode: Padding of both; ``None`` for none, then the skip is cropped by 2 pixels a side.
        bias: Whether the convolutions have one.
        instance_affine: See :func:`make_norm`.
    """

    def __init__(
        self,
        channels: int,
        norm: Norm,
        *,
        mode: PaddingMode | None = "reflect",
        bias: bool = True,
        instance_affine: bool = False,
    ) -> None:
        super().__init__()
        self.crop = 2 if mode is None else 0
        padding = 0 if mode is None else 1

        def conv() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=padding, bias=bias, padding_mode=mode or "zeros")

        def normalise() -> nn.Module:
            return make_norm(norm, channels, instance_affine=instance_affine)

        self.body = nn.Sequential(conv(), normalise(), nn.ReLU(inplace=True), conv(), normalise())

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` -> the same, or ``(B, C, H - 4, W - 4)`` without padding."""
        crop, (height, width) = self.crop, x.shape[-2:]
        skip: Tensor = x[..., crop : height - crop, crop : width - crop]
        return skip + self.body(x)


def check_size(x: Tensor, multiple: int, least: int, network: str) -> None:
    """Refuse images that the network's strides cannot halve evenly.

    Args:
        x: ``(B, C, H, W)``.
        multiple: H and W must be multiples of it.
        least: Smallest H and W.
        network: For the message.

    Raises:
        ValueError: Says the size to pad to.
    """
    height, width = x.shape[-2:]
    if height % multiple or width % multiple or min(height, width) < least:
        fit = [max(math.ceil(size / multiple), math.ceil(least / multiple)) * multiple for size in (height, width)]
        msg = (
            f"{network}: expected height and width to be multiples of {multiple} and at least {least}, "
            f"got {height}x{width}; pad the slices to {fit[0]}x{fit[1]}"
        )
        raise ValueError(msg)


def init_weights(module: nn.Module, std: float = 0.02) -> nn.Module:
    """Initialise as pix2pix and CycleGAN do (A14): convolutions N(0, std), biases 0, norm scales N(1, std).

    Norm scales are drawn, not set to 1, because both reference codes do so.

    Args:
        module: Changed in place, with all it contains; draws from torch's random state.
        std: Standard deviation.

    Returns:
        The same module.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, std)
        elif isinstance(part, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm) and part.affine:
            nn.init.normal_(part.weight, 1.0, std)
        else:
            continue
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    return module
