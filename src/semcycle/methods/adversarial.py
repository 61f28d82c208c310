"""Adversarial losses on logits (ambiguities A1 and A2), as pairs of discriminator and generator loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class AdversarialLoss:
    """A GAN loss.

    Attributes:
        discriminator: ``(real_logits, fake_logits) -> scalar``, the sum of both terms.
        generator: ``(fake_logits) -> scalar``.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


def _bce(logits: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def _bce_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E[log D(x)] - E[log(1 - D(G(y)))]; 2 ln 2 at logits of 0."""
    return _bce(real, 1.0) + _bce(fake, 0.0)


ADVERSARIAL = {
    # the gradient of the paper's printed 1 - log D(G(y)) (Eq. 2) is exactly this one's
    "nonsaturating": AdversarialLoss(_bce_discriminator, lambda fake: _bce(fake, 1.0)),
    "minimax": AdversarialLoss(_bce_discriminator, lambda fake: -_bce(fake, 0.0)),
    "lsgan": AdversarialLoss(
        lambda real, fake: (real - 1).square().mean() + fake.square().mean(), lambda fake: (fake - 1).square().mean()
    ),
    "hinge": AdversarialLoss(
        lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean()
    ),
}
"""Name -> loss. All are minimised by both players; ``minimax`` lets G minimise log(1 - D(G(y)))."""
