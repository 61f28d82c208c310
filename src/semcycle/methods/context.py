"""Context-encoding VAE [zimmerer2018].

A variational auto-encoder that also has to fill holes: half of the loss is that of :mod:`semcycle.methods.vae` on the
intact slice, half is the error of reconstructing the intact slice from one with holes, by the mean of the latents and
without a divergence. Only the abstract and copies of the authors' later code for the MOOD challenge were compared:

* Network, likelihood and dropout: those of :mod:`semcycle.methods.vae`, after [baur2021], not the authors'.
* Weights: (1 - w) and w with w = 0.5, as in their code (``ce_weight``).
* Holes: their code draws 0 to 3 squares of up to half the slice's side anywhere, each filled with one grey. Here they
  are rectangles around pixels of the brain, cut to the brain; ``fill`` blacks them out (a hole) or paints them grey.
* Latents of the slice with holes: their code seems to draw them while it trains. Here they are the mean.
* Score: the paper combines residual and gradient of the divergence; see ``score``, by default the residual alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from semcycle.config import Config, Count
from semcycle.methods.autoencoder import l1_sum
from semcycle.methods.base import Batch, Step
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.methods.vae import VAE, VAESettings
from semcycle.types import ImageBatch, MaskBatch


class ContextSettings(VAESettings):
    """The method's part of a recipe: the VAE's settings, and the holes."""

    ce_weight: float = Field(0.5, ge=0, le=1)
    """Share of the loss that comes from slices with holes."""
    holes: tuple[Count, Count] = (1, 3)
    """Fewest and most holes a slice."""
    hole_side: tuple[float, float] = (0.1, 0.5)
    """Shortest and longest side of a hole as a share of the slice's; height and width are drawn apart."""
    fill: Literal["zero", "grey"] = "zero"
    """Holes are black, or each has a grey of its own."""

    @model_validator(mode="after")
    def _ranges(self) -> ContextSettings:
        if not 0 <= self.holes[0] <= self.holes[1]:
            msg = f"expected holes [fewest, most], not negative, got {list(self.holes)}; sort them"
            raise ValueError(msg)
        if not 0 < self.hole_side[0] <= self.hole_side[1] <= 1:
            msg = (
                f"expected hole_side [shortest, longest] in (0, 1], got {list(self.hole_side)}; give shares of the side"
            )
            raise ValueError(msg)
        return self


class ContextVAE(VAE):
    """VAE that also reconstructs intact slices from ones with holes.

    Args:
        settings: Sizes, holes and score.
    """

    paper = "zimmerer2018"
    Settings: ClassVar[type[Config]] = ContextSettings
    stage: ClassVar[str] = "context"
    settings: ContextSettings

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """(1 - w) (|x - x_hat| + KL) + w |x - x_hat(x with holes)|, sums over pixels and a mean over the batch."""
        s = self.settings
        batch = augment_geometry(batch, AugmentSettings(flip=s.flip))
        l1, kl = self.bound(batch)
        mean, _ = self.net.encode(self.cut(batch.x, batch.brain))
        context = l1_sum(batch.x, self.net.decode(mean), batch.valid).mean()
        loss = (1 - s.ce_weight) * (l1 + s.kl_weight * kl) + s.ce_weight * context
        yield Step("net", loss, {"l1": l1, "kl": kl, "context": context})

    def cut(self, x: ImageBatch, brain: MaskBatch) -> ImageBatch:
        """Fill random rectangles of the brain with black or with a grey each; ``(B, 1, H, W)``."""
        fewest, most = self.settings.holes
        count = torch.randint(fewest, most + 1, (len(x), 1, 1, 1), device=x.device)
        for number in range(most):
            hole = random_rectangle(brain, *self.settings.hole_side) & (number < count)
            grey = torch.rand(len(x), 1, 1, 1, device=x.device) if self.settings.fill == "grey" else torch.zeros_like(x)
            x = torch.where(hole, grey, x)
        return x


def random_rectangle(brain: MaskBatch, shortest: float, longest: float) -> Tensor:
    """The part in the brain of a rectangle around a random pixel of the brain.

    Args:
        brain: ``(B, 1, H, W)`` 0 or 1.
        shortest: Least height and width as a share of H and W.
        longest: Greatest height and width.

    Returns:
        ``(B, 1, H, W)``, true in the rectangle; holds its centre, so that it is empty only where there is no brain.
    """
    height, width = brain.shape[2:]
    device = brain.device
    weights = brain.flatten(1).float().clamp_min(1e-9)  # a slice without brain may have its centre anywhere
    centre = torch.multinomial(weights, 1).view(-1, 1, 1, 1)
    rows = torch.arange(height, device=device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=device).view(1, 1, 1, -1)

    def draw(side: int) -> Tensor:
        return torch.empty(len(brain), 1, 1, 1, device=device).uniform_(shortest * side, longest * side)

    near_row = 2 * (rows - centre.div(width, rounding_mode="floor")).abs() < draw(height)
    near_column = 2 * (columns - centre % width).abs() < draw(width)
    return near_row & near_column & (brain > 0)
