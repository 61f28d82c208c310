"""Selection: end a stage early, and keep its best epoch, by a figure on held-out subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from semcycle.files import write_bytes
from semcycle.methods.base import Method, Stage
from semcycle.training.checkpoint import pack_state
from semcycle.training.recipe import TrainingSettings

BEST = "best-{}.safetensors"
"""Name of a file with the best networks of a stage."""


class Selection:
    """Follows a stage's held-out figure (``Stage.monitor``, the lower the better).

    Args:
        folder: The run folder; the best networks of an unfinished stage lie there.
        settings: ``weights`` and ``patience``.
        stage: The stage.
        rows: What the log holds already, of a resumed run.

    Attributes:
        values: The figure after every epoch so far.
    """

    def __init__(
        self, folder: Path, settings: TrainingSettings, stage: Stage, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self._path = folder / BEST.format(stage.name)
        self._settings = settings
        self._stage = stage
        column = f"validation_{stage.monitor}"
        self.values = [float(row[column]) for row in rows if row["stage"] == stage.name and column in row]

    @property
    def best_epoch(self) -> int:
        """From 1; 0 before the first. Of equal ones the earliest."""
        return self.values.index(min(self.values)) + 1 if self.values else 0

    @property
    def exhausted(self) -> bool:
        """Whether patience is at an end."""
        patience = self._settings.patience
        return bool(patience) and len(self.values) - self.best_epoch >= patience

    def add(self, figures: Mapping[str, float], method: Method[Any], *, save: bool) -> None:
        """Note an epoch; ``save`` writes its networks down if it is the best so far (one process does)."""
        if self._stage.monitor not in figures:
            return
        # rounded as in the log, so that a resumed run decides alike
        self.values.append(round(figures[self._stage.monitor], 6))
        if save and self._settings.weights == "best" and self.best_epoch == len(self.values):
            write_bytes(self._path, pack_state(self._state(method)))

    def take_best(self, method: Method[Any]) -> None:
        """Give the stage's networks the weights of its best epoch, where the recipe wants them."""
        if self._settings.weights == "best" and self._path.is_file():
            tensors = load_file(self._path)
            method.load_state_dict({**method.state_dict(), **tensors})

    def _state(self, method: Method[Any]) -> dict[str, Any]:
        modules = tuple(f"{name}." for player in self._stage.players.values() for name in player.modules)
        return {name: tensor for name, tensor in method.state_dict().items() if name.startswith(modules)}
