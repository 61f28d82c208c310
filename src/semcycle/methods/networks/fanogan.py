"""f-AnoGAN's encoder, generator and critic on the unified layers of [baur2021]."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from semcycle.methods.networks.unified import UnifiedDecoder, UnifiedEncoder, glorot

CriticHead = Literal["per_location", "flatten"]
BOTTLENECK = 16
"""Channels between the dense layers and the convolutions."""


class LatentEncoder(nn.Sequential):
    """E: ``(B, 1, size, size)`` to ``(B, latents)`` in (-1, 1).

    Args:
        size: Side of the image.
        resolution: Side of the bottleneck's maps, r.
        latents: Dimensions of z.
        dropout: Of the latents, in training.
    """

    def __init__(self, size: int = 128, resolution: int = 8, latents: int = 128, dropout: float = 0.1) -> None:
        body = UnifiedEncoder(size, resolution, "affine")
        super().__init__(
            body,
            nn.Conv2d(body.channels, BOTTLENECK, 1),
            nn.Flatten(),
            nn.Linear(BOTTLENECK * resolution**2, latents),
            nn.Dropout(dropout),
            nn.Tanh(),
        )
        glorot(self)


class LatentGenerator(nn.Sequential):
    """G: ``(B, latents)`` to ``(B, 1, size, size)`` in (0, 1).

    Args:
        size: Side of the image.
        resolution: Side of the bottleneck's maps, r.
        latents: Dimensions of z.
        dropout: Of the dense layer's output, in training.
    """

    def __init__(self, size: int = 128, resolution: int = 8, latents: int = 128, dropout: float = 0.1) -> None:
        super().__init__(
            nn.Linear(latents, BOTTLENECK * resolution**2),
            nn.Dropout(dropout),
            nn.Unflatten(1, (BOTTLENECK, resolution, resolution)),
            nn.Conv2d(BOTTLENECK, 128, 1),
            UnifiedDecoder(size, resolution, "layer"),
            nn.Sigmoid(),
        )
        glorot(self)


class Critic(nn.Module):
    """D: an unbounded value for every location of an image's feature maps, or one for the image.

    Args:
        size: Side of the image.
        resolution: Side of the feature maps, r.
        head: ``per_location``: a dense layer over the channels; ``flatten``: over all features.
    """

    def __init__(self, size: int = 128, resolution: int = 8, head: CriticHead = "per_location") -> None:
        super().__init__()
        self.body = UnifiedEncoder(size, resolution, "layer")
        kernel = 1 if head == "per_location" else resolution  # a kernel as large as the maps is a dense layer
        self.head = nn.Conv2d(self.body.channels, 1, kernel)
        glorot(self.head)
        if head == "flatten":  # Glorot counts the inputs and the one output, not the kernel's area twice
            limit = math.sqrt(6 / (self.head.weight[0].numel() + 1))
            nn.init.uniform_(self.head.weight, -limit, limit)

    def features(self, x: Tensor) -> Tensor:
        """f: ``(B, 1, size, size)`` to ``(B, C, r, r)``."""
        maps: Tensor = self.body(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        """``(B, 1, size, size)`` to ``(B, 1, r, r)``, or to ``(B, 1, 1, 1)`` with one value an image."""
        value: Tensor = self.head(self.features(x))
        return value


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor, norm: Literal["full", "column"] = "full") -> Tensor:
    """How far the critic's slopes between real and generated images are from 1: mean (slope - 1)^2.

    Args:
        critic: Any map of images to values; all values of an image are summed.
        real: ``(B, 1, H, W)``.
        fake: ``(B, 1, H, W)``; no gradient reaches what made it.
        norm: ``full``: one slope an image, over all pixels, as WGAN-GP [gulrajani2017] defines it; ``column``: one a
            column, over the image's height alone, as in the code of [baur2021].

    Returns:
        Scalar that can be differentiated again.
    """
    with torch.autocast(real.device.type, enabled=False):  # squares of small slopes need full precision
        real, fake = real.detach().float(), fake.detach().float()
        share = torch.rand(len(real), 1, 1, 1, device=real.device)
        between = (real + share * (fake - real)).requires_grad_()
        (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        squares = gradient.square().sum(dim=(1, 2, 3) if norm == "full" else 2)
        slopes = squares.clamp_min(1e-12).sqrt()  # the root has no slope at 0
        return (slopes - 1).square().mean()
