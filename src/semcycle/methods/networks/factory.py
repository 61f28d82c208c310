"""Generators and discriminators by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from semcycle.methods.networks.blocks import Norm, choose
from semcycle.methods.networks.cyclegan import CycleGANGenerator
from semcycle.methods.networks.johnson import JohnsonGenerator
from semcycle.methods.networks.patchgan import PatchGAN, PixelDiscriminator
from semcycle.methods.networks.pix2pix import Pix2PixUNet128


@dataclass(frozen=True)
class Architecture:
    """A network that can be chosen in a recipe.

    Attributes:
        make: Called with keywords; takes ``in_channels``, ``base`` and ``norm``.
        options: What else it takes.
    """

    make: Callable[..., nn.Module]
    options: tuple[str, ...] = ()


GENERATORS: dict[str, Architecture] = {
    "johnson": Architecture(JohnsonGenerator, ("blocks", "padding", "upsample", "output", "out_channels")),
    "cyclegan6": Architecture(partial(CycleGANGenerator, blocks=6), ("output", "out_channels")),
    "cyclegan9": Architecture(partial(CycleGANGenerator, blocks=9), ("output", "out_channels")),
    "pix2pix_unet128": Architecture(Pix2PixUNet128, ("output", "dropout", "out_channels")),
}
"""Name -> generator: tissue maps -> image in [0, 1]."""

DISCRIMINATORS: dict[str, Architecture] = {
    "patchgan": Architecture(PatchGAN, ("layers",)),
    "pixel": Architecture(PixelDiscriminator),
}
"""Name -> discriminator: image -> logits."""


def build_generator(
    name: str, in_channels: int = 3, base: int | None = None, norm: Norm | None = None, **options: Any
) -> nn.Module:
    """Build a generator.

    Args:
        name: Key of ``GENERATORS``.
        in_channels: Tissue channels.
        base: Channels of the first layer; ``None`` for the architecture's own.
        norm: Normalisation; ``None`` for the architecture's own.
        options: Further settings of that architecture.

    Raises:
        ValueError: Unknown name, an option this generator does not have, or a wrong value.
    """
    return _build(GENERATORS, "generator", name, in_channels, base, norm, options)


def build_discriminator(
    name: str, in_channels: int = 1, base: int | None = None, norm: Norm | None = None, **options: Any
) -> nn.Module:
    """Build a discriminator.

    Args:
        name: Key of ``DISCRIMINATORS``.
        in_channels: Image channels, and those of the condition where there is one.
        base: Channels of the first layer; ``None`` for the architecture's own.
        norm: Normalisation; ``None`` for the architecture's own.
        options: Further settings of that architecture.

    Raises:
        ValueError: Unknown name, an option this discriminator does not have, or a wrong value.
    """
    return _build(DISCRIMINATORS, "discriminator", name, in_channels, base, norm, options)


def _build(
    table: dict[str, Architecture],
    what: str,
    name: str,
    in_channels: int,
    base: int | None,
    norm: Norm | None,
    options: dict[str, Any],
) -> nn.Module:
    architecture = choose(table, name, what)
    for option in options:
        if option not in architecture.options:
            known = ", ".join(architecture.options) or "none"
            others = [other for other, entry in table.items() if option in entry.options]
            remedy = f"remove it or choose {' or '.join(others)}" if others else "remove it"
            msg = f"{what} {name}: expected options among ({known}), got {option!r}; {remedy}"
            raise ValueError(msg)
    common = {"in_channels": in_channels, "base": base, "norm": norm}
    return architecture.make(**{key: value for key, value in common.items() if value is not None}, **options)
