"""Augmentation of training slices as tensor operations on whole batches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from semcycle.config import Config, Share
from semcycle.methods.base import Batch
from semcycle.types import ImageBatch, MaskBatch


class AugmentSettings(Config):
    """What is varied; the paper states none, so all is off by default."""

    flip: bool = False
    """Mirror left and right with probability 1/2."""
    gamma: float = Field(0.0, ge=0)
    """x ** exp(g), g uniform in [-gamma, gamma], one a slice: the contrast of other scanners."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of Gaussian noise, drawn anew for every pixel."""
    coarse_noise: float = Field(0.0, ge=0)
    """Standard deviation of noise drawn on a ``coarse_grid`` grid and interpolated: bright and dark patches
    of lesion size that S has to see through (after [kascenas2022])."""
    coarse_grid: int = Field(16, ge=2, le=1024)
    """Side of that grid."""
    blobs: float = Field(0.0, ge=0, le=1)
    """Probability of pasting an irregular patch of nearly constant intensity (an artificial lesion) into a slice."""
    blob_count: int = Field(1, ge=1, le=1000)
    """So many patches, each with that probability."""
    blob_radius: tuple[Share, Share] = (0.08, 0.4)
    """Range of their radii, as a share of half the slice."""


def augment_geometry(batch: Batch, settings: AugmentSettings) -> Batch:
    """Mirror images, masks and maps together."""
    if not settings.flip:
        return batch
    chosen = torch.rand(len(batch.x), 1, 1, 1, device=batch.x.device) < 0.5

    def mirror(data: Tensor) -> Tensor:
        return torch.where(chosen, data.flip(-1), data)

    return batch.map(mirror)


def augment_intensity(x: ImageBatch, brain: MaskBatch, settings: AugmentSettings) -> ImageBatch:
    """Change intensities within the brain; ``(B, 1, H, W)`` in [0, 1] stays in [0, 1]."""
    count, _, height, width = x.shape
    if settings.gamma:
        exponent = torch.empty(count, 1, 1, 1, device=x.device).uniform_(-settings.gamma, settings.gamma).exp()
        x = x.clamp_min(1e-6) ** exponent
    for _ in range(settings.blob_count if settings.blobs else 0):
        x = _paste_blobs(x, settings.blobs, settings.blob_radius)
    if settings.coarse_noise:
        grid = torch.randn(count, 1, settings.coarse_grid, settings.coarse_grid, device=x.device)
        noise = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
        shift = torch.randint(0, height // settings.coarse_grid + 1, (2,)).tolist()
        x = x + settings.coarse_noise * noise.roll(shift, dims=(2, 3))
    if settings.noise:
        x = x + settings.noise * torch.randn_like(x)
    return x.clamp(0, 1) * brain


def _paste_blobs(x: ImageBatch, probability: float, radius: tuple[float, float]) -> ImageBatch:
    """Blend patches of one grey value into slices.

    A patch is where a smooth random field, weighted by a random wide Gaussian bump, exceeds a level: connected,
    irregular, of 10 to 60 pixels across where the slice has 128 and the radius its default. Its inside is a uniform
    grey in [0, 1] mixed with the tissue beneath.
    """
    count, _, height, width = x.shape
    device = x.device
    rows = torch.linspace(-1, 1, height, device=device).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, width, device=device).view(1, 1, 1, -1)

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1, 1, device=device).uniform_(low, high)

    distance = ((rows - draw(-0.6, 0.6)) / draw(*radius)) ** 2 + ((columns - draw(-0.6, 0.6)) / draw(*radius)) ** 2
    field = F.interpolate(torch.randn(count, 1, 12, 12, device=device), (height, width), mode="bicubic")
    edge = torch.sigmoid((1 - distance + 0.5 * field) / draw(0.05, 0.5))
    weight = edge * draw(0.4, 1.0) * (draw(0, 1) < probability)
    return x * (1 - weight) + draw(0, 1) * weight
