"""Refiner: a network that tells anomalies from what the cycle cannot paint for other reasons.

The residual |x - G(S(x))| is large in lesions, and also where G paints a cistern, a temporal pole or a scanner's
contrast not quite as it is. A U-Net looks at both images, at the tissue maps, at the neighbouring slices and at the
height in the head, and gives every pixel the probability that something was put there that does not belong. S and G
are frozen. It learns on anomalies drawn into scans (:mod:`semcycle.store.anomalies`); no lesion that an expert
outlined is ever a target. Not in the paper.

Nearest relatives learn on synthetic anomalies as well: patches of other subjects that are blended in (FPI [tan2022],
PII [tan2021]), such patches restored step by step (DISYRE [marimont2024]), and coarse noise
(:mod:`semcycle.methods.denoising`, [kascenas2022]). Here the anomalies are lesion-like, and the network sees what a
healthy brain would look like beside what there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor, nn

from semcycle.config import Beta, Config
from semcycle.methods.base import Batch, Method, Player, Reconstructed, Reconstruction, Stage, Step
from semcycle.methods.cycle import Cycle, CycleSettings
from semcycle.methods.networks.unet import UNet
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry
from semcycle.types import ImageBatch, MaskBatch, SliceArray, SliceMask

Input = Literal["x", "reconstruction", "residual", "tissue", "brain", "height", "neighbours"]
CHANNELS = {"x": 1, "reconstruction": 1, "residual": 1, "tissue": 3, "brain": 1, "height": 1}
"""Channels of each input but the neighbours, of which the settings say how many."""
REFINED_AT_ONCE = 16
"""Slices of a scan at a time."""


class RefineSettings(Config):
    """The method's part of a recipe."""

    cycle: CycleSettings = CycleSettings()
    """The frozen cycle; the recipe's ``start`` names the model that has its weights."""
    inputs: tuple[Input, ...] = ("x", "reconstruction", "residual", "tissue", "brain", "height", "neighbours")
    """What the refiner sees: the scan, G(S(x)), their difference, S(x), the brain mask, the height of the slice in the
    brain, and the neighbouring slices."""
    neighbours: int = Field(1, ge=1, le=16)
    """Slices on either side; ``slices.context`` of the recipe must be as many."""
    epochs: int = Field(4, ge=0, le=100_000)
    """Passes over the training slices."""
    base: int = Field(16, ge=1, le=4096)
    """Channels of the U-Net's first level."""
    norm: Literal["batch", "instance", "group", "none"] = "batch"
    """Normalisation after every convolution."""
    dice: float = Field(0.3, ge=0)
    """Weight of the Dice loss beside the cross-entropy."""
    learning_rate: float = Field(2e-3, gt=0)
    """Adam's step size."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    """Adam's decay rates."""
    kept: int = Field(0, ge=0, le=16)
    """Networks that the recipe's ``start``, a refiner on the same cycle, has: they stay as they are, and the score is
    made of theirs and of the new one's."""
    kept_share: float = Field(0.5, ge=0, le=1)
    """Weight of the mean of their log-odds in the score's; the new network's has the rest."""

    @model_serializer(mode="wrap")
    def _leave_out_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Newer than the first runs, so recorded where it is set: those keep their fingerprints."""
        return {name: value for name, value in dump(self).items() if not name.startswith("kept") or self.kept}


class Refine(Method[RefineSettings]):
    """Refiner on a frozen cycle.

    Args:
        settings: Inputs and sizes.
    """

    paper = "tan2022"
    Settings = RefineSettings
    needs_anomaly: ClassVar[bool] = True
    networks: tuple[str, ...] = ("cycle.S", "cycle.G", "net")

    def __init__(self, settings: RefineSettings) -> None:
        super().__init__(settings)
        self.cycle = Cycle(settings.cycle)
        del self.cycle.D  # only G's training needs its critic
        self.cycle.requires_grad_(False)
        seen = sum(CHANNELS.get(name, 2 * settings.neighbours) for name in settings.inputs)
        self.net = UNet(seen, 1, settings.base, settings.norm)
        self.kept = nn.ModuleList(UNet(seen, 1, settings.base, settings.norm) for _ in range(settings.kept))
        self.kept.requires_grad_(False)
        self.networks = (*type(self).networks, *(f"kept.{number}" for number in range(settings.kept)))

    def start_from(self, other: Method[Any]) -> None:
        """Take S and G of a trained cycle, everything of a trained refiner, or its networks to keep.

        Raises:
            ValueError: It is neither, or one of other settings.
        """
        if isinstance(other, Refine) and _same_networks(other.settings, self.settings):
            own, given = self.settings.kept, other.settings.kept
            if own == given:
                self.load_state_dict(other.state_dict())
                return
            if own == given + 1:
                self.cycle.load_state_dict(other.cycle.state_dict())
                for mine, theirs in zip(self.kept, [*other.kept, other.net], strict=True):
                    mine.load_state_dict(theirs.state_dict())
                return
            msg = f"expected method.kept {given} to train it further or {given + 1} to keep what it has, got {own}"
            raise ValueError(msg)
        if not isinstance(other, Cycle) or other.settings != self.settings.cycle or self.settings.kept:
            msg = (
                "expected a model of method cycle with the settings in the recipe's method.cycle (and kept 0), or of "
                "method refine with the recipe's networks, got another; copy its settings there"
            )
            raise ValueError(msg)
        self.cycle.S.load_state_dict(other.S.state_dict())
        self.cycle.G.load_state_dict(other.G.state_dict())

    def stages(self) -> list[Stage]:
        """One; S and G stay as they are."""
        player = Player(("net",), self.settings.learning_rate, self.settings.betas)
        everything = {"method": self.settings.model_dump(mode="json")}
        return [Stage("refinement", self.settings.epochs, {"net": player}, everything, "loss")]

    @torch.no_grad()
    def freeze(self, x: ImageBatch, brain: MaskBatch) -> Tensor | None:
        """G(S(x)) and S(x), ``(B, 4, H, W)``; ``None`` if the refiner sees neither."""
        if not {"reconstruction", "residual", "tissue"} & set(self.settings.inputs):
            return None
        reconstructed = self.cycle.reconstruct(x, brain)
        return torch.cat([reconstructed.image, _tissue(reconstructed)], dim=1)

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """One step on mirrored or unmirrored slices."""
        batch = augment_geometry(_crop(batch, self.net.multiple), AugmentSettings(flip=True))
        bce, dice = self._errors(self._logits(batch), batch)
        yield Step("net", bce + self.settings.dice * dice, {"cross_entropy": bce, "dice_loss": dice})

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """The loss and its two parts, on drawn anomalies of subjects that are held out."""
        self.eval()
        bce, dice = self._errors(self._logits(batch), batch)
        return {"loss": bce + self.settings.dice * dice, "cross_entropy": bce, "dice_loss": dice}

    @torch.no_grad()
    def sample(self, stage: str, batch: Batch) -> Reconstruction:
        """The cycle's reconstruction and the refiner's score."""
        self.eval()
        reconstructed = self.cycle.reconstruct(batch.x, batch.brain)
        return reconstructed._replace(score=self._probability(batch))

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """G(S(x)) and S(x); the score needs the whole scan and is made by :meth:`finish`."""
        self.eval()
        return self.cycle.reconstruct(x, brain)

    @torch.no_grad()
    def finish(self, x: SliceArray, brain: SliceMask, reconstructed: Reconstructed) -> Reconstructed:
        """The probability of an anomaly in every pixel of the brain, in [0, 1]."""
        self.eval()
        score = np.zeros(x.shape, np.float32)
        shown = np.flatnonzero(brain.any(axis=(1, 2)))
        for start in range(0, len(shown), REFINED_AT_ONCE):
            part = shown[start : start + REFINED_AT_ONCE]
            batch, window = _crop_window(self._scan_batch(x, brain, reconstructed, part), self.net.multiple)
            score[(part, *window)] = self._probability(batch)[:, 0].cpu().numpy()
        return self.cycle.finish(x, brain, reconstructed)._replace(score=score)

    def _scan_batch(self, x: SliceArray, brain: SliceMask, reconstructed: Reconstructed, part: np.ndarray) -> Batch:
        """Some slices of a scan with their neighbours and heights."""
        device = next(self.net.parameters()).device
        shown = np.flatnonzero(brain.any(axis=(1, 2)))
        low, count = int(shown[0]), int(shown[-1]) + 1 - int(shown[0])
        offsets = [n for n in range(-self.settings.neighbours, self.settings.neighbours + 1) if n]
        around = np.clip(part[:, None] + np.array(offsets)[None], low, low + count - 1)

        def tensor(data: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(data, np.float32)).to(device)

        masks = tensor(brain[part, None])
        if reconstructed.tissue is None:
            msg = "expected tissue maps of the cycle, got none"
            raise ValueError(msg)
        frozen = torch.cat([tensor(reconstructed.image[part, None]), tensor(reconstructed.tissue[part])], dim=1)
        height = tensor(((part - low) / count).reshape(-1, 1, 1, 1))
        return Batch(tensor(x[part, None]), masks, None, masks, tensor(x[around]), height, None, frozen)

    def _logits(self, batch: Batch) -> Tensor:
        """Of the network that learns."""
        logits: Tensor = self.net(self._inputs(batch))
        return logits

    def _probability(self, batch: Batch) -> Tensor:
        """Of the mean log-odds of the networks, 0 outside the brain: ``(B, 1, H, W)`` in [0, 1]."""
        data, share = self._inputs(batch), self.settings.kept_share
        logits = self.net(data).float()
        if len(self.kept):
            kept = torch.stack([network(data).float() for network in self.kept]).mean(dim=0)
            logits = share * kept + (1 - share) * logits
        return torch.sigmoid(logits) * batch.brain

    def _inputs(self, batch: Batch) -> Tensor:
        """The channels that the settings name, each of a spread of about 1."""
        frozen, brain = batch.frozen, batch.brain
        image = torch.zeros_like(batch.x) if frozen is None else frozen[:, :1] * brain
        channels = {"x": 2 * batch.x, "reconstruction": 2 * image, "residual": 4 * (batch.x - image), "brain": brain}
        if frozen is not None:
            channels["tissue"] = frozen[:, 1:]
        if batch.height is not None:
            channels["height"] = batch.height.expand_as(batch.x)
        if batch.context is not None:
            channels["neighbours"] = 2 * batch.context
        if missing := [name for name in self.settings.inputs if name not in channels]:
            msg = (
                f"expected {', '.join(missing)} with the slices, got none; set slices.context, or take it out of "
                "method.inputs"
            )
            raise ValueError(msg)
        data = torch.cat([channels[name] for name in self.settings.inputs], dim=1)
        return data.contiguous(memory_format=torch.channels_last)

    def _errors(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy and Dice loss where the brain is, no lesion of the patient, and no doubt."""
        if batch.anomaly is None:
            msg = "expected drawn anomalies with the slices, got none"
            raise ValueError(msg)
        logits, target = logits.float(), (batch.anomaly == 1).float()
        counts = batch.brain * batch.valid * (batch.anomaly != 2)
        bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        p = logits.sigmoid() * counts
        overlap = (2 * (p * target).sum() + 1) / (p.sum() + (target * counts).sum() + 1)
        return (bce * counts).sum() / counts.sum().clamp_min(1), 1 - overlap


def _same_networks(own: RefineSettings, other: RefineSettings) -> bool:
    names = ("cycle", "inputs", "neighbours", "base", "norm")
    return all(getattr(own, name) == getattr(other, name) for name in names)


def _tissue(reconstructed: Reconstruction) -> Tensor:
    if reconstructed.tissue is None:
        msg = "expected tissue maps of the cycle, got none"
        raise ValueError(msg)
    return reconstructed.tissue


def _crop(batch: Batch, multiple: int) -> Batch:
    return _crop_window(batch, multiple)[0]


def _crop_window(batch: Batch, multiple: int) -> tuple[Batch, tuple[slice, slice]]:
    """The part of the slices that shows brain, its sides multiples of ``multiple``: a third less to compute."""
    window = []
    for axis in (2, 3):
        size = batch.brain.shape[axis]
        inside = torch.nonzero(batch.brain.amax(dim=(0, 1, 5 - axis)) > 0).flatten().tolist()
        low, high = (inside[0], inside[-1] + 1) if inside else (0, 1)
        side = min(size, -(-(high - low) // multiple) * multiple)
        start = min(max(0, (low + high - side) // 2), size - side)
        window.append(slice(start, start + side))
    rows, columns = window
    return batch.map(lambda data: data[..., rows, columns]), (rows, columns)
