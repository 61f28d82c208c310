"""Logs of a training run: ``log.csv``, TensorBoard curves, and what an observer is told."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semcycle.files import write_bytes
from semcycle.methods.base import Batch, Reconstruction


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch.

    Attributes:
        stage: Name of the stage.
        epoch: From 1.
        epochs: Of the stage.
        losses: Means over the epoch's training steps.
        validation: The method's own figures on held-out subjects, in evaluation mode; empty without any.
        learning_rate: At the last step.
        seconds: Wall time of the epoch.
    """

    stage: str
    epoch: int
    epochs: int
    losses: Mapping[str, float]
    validation: Mapping[str, float]
    learning_rate: float
    seconds: float


class Observer:
    """Told of the progress of a training; the base class ignores it all."""

    def epoch_started(self, stage: str, epoch: int, epochs: int, steps: int) -> None:
        """An epoch (from 1) of ``steps`` steps begins."""

    def step_done(self, losses: Mapping[str, float]) -> None:
        """One batch was learned from."""

    def epoch_done(self, epoch: Epoch, batch: Batch, sample: Reconstruction) -> None:
        """An epoch ended; ``sample`` is what the method makes of a few fixed slices."""


@dataclass
class TrainingLog:
    """Curves of a run, rewritten as a whole so that a resumed run continues them without doubles.

    Attributes:
        folder: The run folder.
        rows: One a finished epoch.
    """

    folder: Path
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, epoch: Epoch) -> None:
        """Append an epoch to ``log.csv`` and to the TensorBoard curves."""
        row = {"stage": epoch.stage, "epoch": epoch.epoch, "learning_rate": epoch.learning_rate}
        row |= {name: round(value, 6) for name, value in epoch.losses.items()}
        row |= {f"validation_{name}": round(value, 6) for name, value in epoch.validation.items()}
        self.rows.append(row | {"seconds": round(epoch.seconds, 2)})
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_bytes(self.folder / "log.csv", text.getvalue().encode())
        self._to_tensorboard(epoch)

    def _to_tensorboard(self, epoch: Epoch) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only rank 0 needs it

        # a writer an epoch: an interrupted run leaves no half-written event, purge_step hides repeated epochs
        with SummaryWriter(str(self.folder / "tensorboard" / epoch.stage), purge_step=epoch.epoch) as writer:
            for name, value in epoch.losses.items():
                writer.add_scalar(name, value, epoch.epoch)
            for name, value in epoch.validation.items():
                writer.add_scalar(f"validation/{name}", value, epoch.epoch)
