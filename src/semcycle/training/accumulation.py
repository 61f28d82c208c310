"""Gradients of a batch: as a whole, or gathered over its parts, so that any batch fits any card.

In parts, every optimiser step sees what it would see of the whole batch, also where players take turns: the losses are
asked for anew for every step, each part with the random draws it had before, and what comes before the step is
computed again without gradient. That costs time where several players learn, and none where one does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count, islice, pairwise
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from semcycle.methods.base import Batch, Method


def gradient_steps(
    fabric: Fabric, method: Method[Any], stage: str, batch: Batch, optimizers: Mapping[str, Any], parts: int = 1
) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """Fill the gradients of a stage's players, one after the other.

    Args:
        fabric: For precision and backward passes.
        method: Whose losses.
        stage: Its name.
        batch: Slices.
        optimizers: Of the players, by name.
        parts: How many the batch is split into; fewer where it has fewer slices.

    Yields:
        Each player when its gradient is that of the batch, with what is to be logged; it is to be stepped before the
        next one is asked for.
    """
    if parts == 1:
        asked = method.losses(stage, batch)
        while True:
            with fabric.autocast():
                step = next(asked, None)
            if step is None:
                return
            optimizers[step.player].zero_grad()
            fabric.backward(step.loss)
            yield step.player, step.log
    pieces = split_batch(batch, parts)
    seeds = torch.randint(2**31, (len(pieces),)).tolist()
    for place in count():
        player, log = "", defaultdict[str, Tensor](lambda: torch.zeros((), device=batch.x.device))
        for seed, piece in zip(seeds, pieces, strict=True):
            torch.manual_seed(seed)
            asked = method.losses(stage, piece)
            with fabric.autocast():
                step = next(islice(asked, place, None), None)
            if step is None:
                return
            if not player:
                player = step.player
                optimizers[player].zero_grad()
            share = len(piece.x) / len(batch.x)
            fabric.backward(step.loss * share)
            for name, value in step.log.items():
                log[name] += value.detach() * share
        yield player, log


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Split a batch into at most ``parts`` of nearly equal size, none of them empty."""
    size = len(batch.x)
    edges = [size * part // min(parts, size) for part in range(min(parts, size) + 1)]
    return [
        Batch(*(None if field is None else field[start:stop] for field in batch))  # type: ignore[arg-type]
        for start, stop in pairwise(edges)
    ]
