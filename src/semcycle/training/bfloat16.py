"""bfloat16: networks in numbers of 16 bits, which some processors multiply several times as fast as those of 32.

A bfloat16 has the range of a float32 and 8 of its 24 bits of precision. Sums are kept in 32 bits, and what goes in and
comes out is float32. Intel's AMX multiplies tiles of them; without such units they are slower than float32.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies tiles of bfloat16 (``amx_bf16``), and torch, from 2.13 on, can tell so."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))


class Bfloat16ReLU(nn.Module):
    """max(x, 0) of bfloat16, in place: as whole numbers of 16 bits they have the same sign, and a third of the cost."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; x itself."""
        x.view(torch.int16).clamp_min_(0)
        return x


class Bfloat16Network(nn.Module):
    """A network computed in bfloat16, its batch norms taken into the convolutions before them.

    Args:
        network: In evaluation mode; left as it is. Computed without gradient.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.multiple: Any = getattr(network, "multiple", None)
        self.network = fuse_norms(copy.deepcopy(network).eval()).to(torch.bfloat16)
        for part in list(self.network.modules()):
            for place, layer in part.named_children():
                if isinstance(layer, nn.ReLU) and layer.inplace:
                    setattr(part, place, Bfloat16ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of ``(B, C, H, W)``, as float32."""
        y: Tensor = self.network(x.to(torch.bfloat16))
        return y.float()


def fuse_norms(network: nn.Module) -> nn.Module:
    """Take batch norms with their running statistics into the convolutions before them, in place.

    Args:
        network: In evaluation mode.

    Returns:
        The same module, which computes the same but for rounding.
    """
    for part in network.modules():
        if not isinstance(part, nn.Sequential):
            continue
        for (place, before), (norm_place, norm) in pairwise(list(part.named_children())):
            if isinstance(before, nn.Conv2d | nn.ConvTranspose2d) and isinstance(norm, nn.BatchNorm2d):
                fused = fuse_conv_bn_eval(before, norm, isinstance(before, nn.ConvTranspose2d))
                setattr(part, place, fused)
                setattr(part, norm_place, nn.Identity())
    return network
