"""Image pool (A14): the discriminator sees generated images of earlier batches as well, as in the code of [zhu2017].

That code keeps 50 images: until the pool is full every image enters it and is shown; then every new image is, with
probability 1/2, shown itself, or else takes the place of a random older one, which is shown instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Images a generator made before.

    The pool is state of an unfinished training, no part of a model: its buffer goes to the resume file and never into
    the weights. Draws come from torch's random state on the CPU.

    Args:
        size: How many images; 0 passes every batch through.
    """

    images: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0), persistent=False)

    @torch.no_grad()
    def forward(self, fresh: Tensor) -> Tensor:
        """What the discriminator is shown in place of new images.

        Args:
            fresh: ``(B, C, H, W)``, just generated.

        Returns:
            ``(B, C, H, W)`` without gradient, new ones and older ones.
        """
        fresh = fresh.detach()
        if not self.size:
            return fresh
        kept, shown = list(self.images), []
        for image in fresh:
            if len(kept) < self.size:
                kept.append(image)
                shown.append(image)
            elif float(torch.rand(())) > 0.5:
                place = int(torch.randint(self.size, ()))
                shown.append(kept[place])
                kept[place] = image
            else:
                shown.append(image)
        self.images = torch.stack(kept)
        return torch.stack(shown)
