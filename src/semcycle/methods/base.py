"""What a method is: networks, training stages, losses, and a healthy reconstruction of a slice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor, nn

from semcycle.config import Beta, Config
from semcycle.types import ImageBatch, MaskBatch, SliceArray, SliceMask, TissueBatch, TissueSlices


class Batch(NamedTuple):
    """Training slices.

    Attributes:
        x: ``(B, 1, H, W)`` intensities in [0, 1].
        brain: ``(B, 1, H, W)`` 0 or 1.
        y: ``(B, 3, H, W)`` GM, WM, CSF probabilities, or ``None`` where the store has none.
        valid: ``(B, 1, H, W)`` 1 where losses count, 0 in lesions of slices that are kept for the rest.
        context: ``(B, 2 n, H, W)`` the n slices below, the nearest last, and the n above, where the recipe wants
            neighbours; at the ends of a scan the last slice is repeated.
        height: ``(B, 1, 1, 1)`` position in the brain, 0 at its foot, 1 at its top, of a store that has it.
        anomaly: ``(B, 1, H, W)`` 0 healthy, 1 drawn anomaly, 2 uncertain, of a store that has it.
        frozen: ``(B, C, H, W)`` what :meth:`Method.freeze` made of the slices.
    """

    x: ImageBatch
    brain: MaskBatch
    y: TissueBatch | None
    valid: MaskBatch
    context: Tensor | None = None
    height: Tensor | None = None
    anomaly: MaskBatch | None = None
    frozen: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every image-like tensor changed; the height of a slice is no image."""
        changed = {
            name: field if name == "height" or field is None else change(field)
            for name, field in self._asdict().items()
        }
        return self._replace(**changed)


class Step(NamedTuple):
    """One optimiser step that a method asks the training loop for.

    Attributes:
        player: Which of the stage's players is to be updated.
        loss: Scalar to be minimised.
        log: Scalars worth a curve, by name.
    """

    player: str
    loss: Tensor
    log: Mapping[str, Tensor]


@dataclass(frozen=True)
class Player:
    """Networks with an Adam optimiser of their own.

    Attributes:
        modules: Names of the method's attributes that hold the networks.
        learning_rate: Adam's step size.
        betas: Adam's decay rates.
    """

    modules: tuple[str, ...]
    learning_rate: float
    betas: tuple[Beta, Beta]


class TrainedSettings(Config):
    """Settings of every stage that is trained; methods give them other defaults."""

    epochs: int = Field(20, ge=0, le=100_000)
    """Passes over the training slices."""
    learning_rate: float = Field(1e-4, gt=0)
    """Adam's step size."""
    betas: tuple[Beta, Beta] = (0.5, 0.999)
    """Adam's decay rates."""

    def player(self, *modules: str) -> Player:
        """The method's networks of these names, with an optimiser of these settings."""
        return Player(modules, self.learning_rate, self.betas)


@dataclass(frozen=True)
class Stage:
    """A part of the training with its own players and length.

    Attributes:
        name: Part of file and curve names.
        epochs: Passes over the training slices.
        players: Networks that learn in this stage, by name.
        settings: The part of the recipe this stage depends on; two runs whose leading stages agree in it
            (and in data, seed and batch size) have the same weights after it.
        monitor: The figure of ``validate`` that early stopping and the choice of the best epoch want low; empty for a
            stage that has none, which always runs to its end.
    """

    name: str
    epochs: int
    players: Mapping[str, Player]
    settings: Mapping[str, object] = field(default_factory=dict)
    monitor: str = "l1"


def one_stage(name: str, settings: TrainedSettings, later: Collection[str] = ()) -> list[Stage]:
    """The stages of a method that is one network, ``net``, and learns in one stage.

    Args:
        name: Of the stage.
        settings: All of the method's.
        later: Names, or how names begin, of settings that only matter after training.
    """
    settings_of_stage = {
        key: value for key, value in settings.model_dump(mode="json").items() if not key.startswith(tuple(later))
    }
    return [Stage(name, settings.epochs, {"net": settings.player("net")}, {"method": settings_of_stage})]


class Reconstruction(NamedTuple):
    """A method's idea of the healthy slice.

    Attributes:
        image: ``(B, 1, H, W)`` in [0, 1].
        tissue: ``(B, 3, H, W)`` GM, WM, CSF where the method has them.
        score: ``(B, 1, H, W)`` anomaly score, not negative, where it is something else than the residual.
    """

    image: ImageBatch
    tissue: TissueBatch | None = None
    score: ImageBatch | None = None


class Reconstructed(NamedTuple):
    """What a method made of a scan's slices.

    Attributes:
        image: ``(S, H, W)`` healthy reconstruction in [0, 1].
        tissue: ``(S, 3, H, W)`` GM, WM, CSF where the method has them.
        score: ``(S, H, W)`` anomaly score in [0, 1] where it is something else than the residual.
    """

    image: SliceArray
    tissue: TissueSlices | None = None
    score: SliceArray | None = None


C = TypeVar("C", bound=Config)


class Method(nn.Module, ABC, Generic[C]):
    """An anomaly segmentation method. One file a paper and one line in ``METHODS``.

    Attributes:
        paper: Key of what it implements in the project's list of references, ``docs/references.md``.
        Settings: Its part of a recipe.
        needs_tissue: Whether training needs tissue maps in the store.
        needs_anomaly: Whether training needs drawn anomalies in the store.
        networks: Attributes with the networks that prediction calls on a batch, nested ones with a dot; empty where it
            needs more than their forward calls, such as gradients.
    """

    paper: ClassVar[str]
    Settings: ClassVar[type[Config]]
    needs_tissue: ClassVar[bool] = False
    needs_anomaly: ClassVar[bool] = False
    networks: tuple[str, ...] = ()

    def __init__(self, settings: C) -> None:
        super().__init__()
        self.settings = settings

    def start_from(self, other: Method[Any]) -> None:
        """Take over what a trained method knows, before training begins.

        Raises:
            ValueError: There is nothing to take over; no method but one that stands on another has that.
        """
        msg = f"expected a method that stands on another one, got {type(self).__name__}; remove `start` from the recipe"
        raise ValueError(msg)

    def freeze(self, x: ImageBatch, brain: MaskBatch) -> Tensor | None:
        """What networks that do not learn make of training slices, ``(B, C, H, W)``.

        It is computed once a slice and handed over in ``Batch.frozen``.
        """
        return None

    @abstractmethod
    def stages(self) -> list[Stage]:
        """Training stages in order; empty for a method that is not trained."""

    @abstractmethod
    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """Yield the optimiser steps of one batch.

        The loop steps the named player before it asks for the next one, so a generator's output can be
        shared by its critic's and its own step.
        """

    @abstractmethod
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """Reconstruct slices as healthy ones, in evaluation mode and without gradient.

        Args:
            x: ``(B, 1, H, W)`` intensities in [0, 1].
            brain: ``(B, 1, H, W)`` 0 or 1.
        """

    def finish(self, x: SliceArray, brain: SliceMask, reconstructed: Reconstructed) -> Reconstructed:
        """Look at the reconstruction of a whole scan once more; by default nothing changes.

        Args:
            x: ``(S, H, W)`` in [0, 1].
            brain: ``(S, H, W)``.
            reconstructed: What :meth:`reconstruct` made of all its slices.
        """
        return reconstructed

    @torch.no_grad()
    def sample(self, stage: str, batch: Batch) -> Reconstruction:
        """What to show of a stage after an epoch; by default the whole reconstruction."""
        return self.reconstruct(batch.x, batch.brain)

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """Scalars, in evaluation mode, that tell whether a stage learns; measured on held-out subjects.

        By default the L1 of the reconstruction in the brain, outside lesions.
        """
        inside = batch.brain * batch.valid
        image = self.reconstruct(batch.x, batch.brain).image
        return {"l1": ((batch.x - image).abs() * inside).sum() / inside.sum().clamp_min(1)}
