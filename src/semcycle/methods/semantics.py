"""Semantic representations: tissue probabilities as targets for S and as input for G."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semcycle.types import MaskBatch, TissueBatch


def with_background(y: TissueBatch) -> Tensor:
    """Prepend the background 1 - GM - WM - CSF: ``(B, 3, H, W)`` -> ``(B, 4, H, W)``."""
    return torch.cat([(1 - y.sum(dim=1, keepdim=True)).clamp(0, 1), y], dim=1)


def hard_labels(y: TissueBatch, brain: MaskBatch) -> Tensor:
    """Most probable class of background, GM, WM, CSF; background outside the brain (A9).

    Returns:
        ``(B, H, W)`` int64: 0 background, 1 GM, 2 WM, 3 CSF.
    """
    return with_background(y).argmax(dim=1) * (brain[:, 0] > 0)


def one_hot(y: TissueBatch) -> TissueBatch:
    """The discrete representation: 1 for the most probable class, background being a class of its own."""
    labels = with_background(y).argmax(dim=1)
    return F.one_hot(labels, 4).permute(0, 3, 1, 2)[:, 1:].to(y.dtype)


def generator_input(y: TissueBatch, channels: int) -> Tensor:
    """What G sees: the 3 tissues, or 4 channels with the background in front (A7)."""
    return with_background(y) if channels == 4 else y
