"""Cycle: image -> tissue maps -> image, the method of the paper [li2021].

S: x -> y is a U-Net that learns tissue from healthy pixels (in the paper, from lesion-free slices); G: y -> x is a
conditional GAN that paints a healthy image from tissue maps.
What the round trip cannot reproduce is anomalous: r = |x - G(S(x))| (Eq. 5).
The paper leaves much open; docs/explanation/method.md lists every choice with its number (A1 to A28). Defaults are
the readings closest to the text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from semcycle.config import Config
from semcycle.methods.adversarial import ADVERSARIAL
from semcycle.methods.base import (
    Batch,
    Method,
    Player,
    Reconstructed,
    Reconstruction,
    Stage,
    Step,
    TrainedSettings,
)
from semcycle.methods.contrast import match_contrast
from semcycle.methods.image_pool import ImagePool
from semcycle.methods.networks.blocks import Norm, init_weights
from semcycle.methods.networks.discriminators import DISCRIMINATORS
from semcycle.methods.networks.generators import GENERATORS, Padding, Upsample
from semcycle.methods.networks.unet import UNet
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry, augment_intensity
from semcycle.methods.semantics import generator_input, hard_labels, one_hot, with_background
from semcycle.types import ImageBatch, MaskBatch, SliceArray, SliceMask, TissueBatch


class SegmentationSettings(TrainedSettings):
    """S and its training."""

    epochs: int = Field(30, ge=0, le=100_000)
    learning_rate: float = Field(2e-4, gt=0)
    base: int = Field(64, ge=1, le=4096)
    """Channels of the U-Net's first level (A12)."""
    norm: Norm = "batch"
    """Normalisation after every convolution."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout of feature maps in the U-Net's lowest levels."""
    classes: Literal[3, 4] = 4
    """4: background, GM, WM, CSF over all pixels; 3: the tissues, within the brain (A7)."""
    target: Literal["hard", "soft"] = "hard"
    """Cross-entropy on the most probable class or on the probabilities (A9)."""
    augment: AugmentSettings = AugmentSettings()
    """Variation of the slices S learns from."""


class SynthesisSettings(TrainedSettings):
    """G, D and their training."""

    epochs: int = Field(15, ge=0, le=100_000)
    learning_rate: float = Field(2e-4, gt=0)
    generator: Literal["johnson", "cyclegan6", "cyclegan9", "pix2pix_unet128"] = "johnson"
    """G's architecture (A4)."""
    base: int = Field(32, ge=1, le=4096)
    """Channels of G's first layer."""
    norm: Norm = "batch"
    """G's normalisation (A4)."""
    padding: Padding = "reflect"
    """Padding of the Johnson generator (A4)."""
    upsample: Upsample = "deconv"
    """Upsampling of the Johnson generator (A4)."""
    output: Literal["sigmoid", "tanh"] = "sigmoid"
    """G's last activation; either way the image is in [0, 1] (A6)."""
    channels: Literal[3, 4] = 3
    """G's input: the tissues, or with the background in front (A7)."""
    source: Literal["maps", "segmenter", "mixed"] = "maps"
    """What G learns from: the store's tissue maps, S's output on the training slices, or either with
    probability 1/2 a batch (A10)."""
    discriminator: Literal["patchgan", "pixel"] = "patchgan"
    """D's architecture (A5)."""
    discriminator_base: int = Field(64, ge=1, le=4096)
    """Channels of D's first layer."""
    discriminator_layers: int = Field(3, ge=1, le=5)
    """PatchGAN's strided layers: 3 see 70 pixels, 2 see 34, 1 sees 16 (A5)."""
    discriminator_norm: Norm = "instance"
    """D's normalisation (A5)."""
    conditional: bool = False
    """Whether D sees the tissue maps beside the image (A3)."""
    loss: Literal["nonsaturating", "minimax", "lsgan", "hinge"] = "nonsaturating"
    """GAN loss (A1)."""
    discriminator_weight: float = Field(0.5, gt=0)
    """Factor on D's loss (A2)."""
    adversarial_weight: float = Field(1.0, ge=0)
    """Factor on G's adversarial loss; 0 trains G on L1 alone, without D."""
    lambda_l1: float = Field(10.0, ge=0)
    """The paper's lambda, weight of |x - G(y)|."""
    l1_reduction: Literal["mean", "sum"] = "mean"
    """Over pixels (A13); always a mean over the batch."""
    first: Literal["discriminator", "generator"] = "discriminator"
    """Who steps first on a batch (A14)."""
    pool: int = Field(0, ge=0, le=100_000)
    """So many images of earlier batches are kept for D to see again, 50 in CycleGAN's code (A14)."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of G's and D's initial convolution weights (A14)."""
    flip: bool = False
    """Mirror left and right with probability 1/2."""


class CycleSettings(Config):
    """The method's part of a recipe."""

    semantics: Literal["continuous", "discrete"] = "continuous"
    """Tissue probabilities, or one-hot maps."""
    discrete_training: bool = True
    """With discrete semantics: train G on one-hot maps too, not only discretise at test time (A25)."""
    temperature: float = Field(1.0, gt=0)
    """S's logits are divided by it before the softmax; above 1 softens the maps (A10)."""
    segmentation: SegmentationSettings = SegmentationSettings()
    """S."""
    synthesis: SynthesisSettings = SynthesisSettings()
    """G and D."""
    match: Literal["none", "tissue"] = "none"
    """``tissue``: before the residual is taken, the reconstruction gets the scan's own contrast between the tissues
    (:mod:`semcycle.methods.contrast`), which differs with the scanner; not in the paper."""
    joint_epochs: int = Field(0, ge=0, le=100_000)
    """Epochs of fine-tuning S and G together on CE + GAN + lambda |x - G(S(x))| afterwards; the paper trains
    them separately (A11)."""

    @model_validator(mode="after")
    def _joint_needs_gradient(self) -> CycleSettings:
        if self.joint_epochs and self.semantics == "discrete":
            msg = "expected joint_epochs 0 with discrete semantics (one-hot maps pass no gradient); use continuous"
            raise ValueError(msg)
        return self


class Cycle(Method[CycleSettings]):
    """Image-semantic cycle translation.

    Args:
        settings: Sizes and readings of the paper.
    """

    paper = "li2021"
    Settings = CycleSettings
    needs_tissue = True
    networks = ("S", "G")

    def __init__(self, settings: CycleSettings) -> None:
        super().__init__(settings)
        seg, syn = settings.segmentation, settings.synthesis
        self.S = UNet(1, seg.classes, seg.base, seg.norm, seg.dropout)
        johnson = {"padding": syn.padding, "upsample": syn.upsample} if syn.generator == "johnson" else {}
        self.G = GENERATORS[syn.generator](syn.channels, base=syn.base, norm=syn.norm, output=syn.output, **johnson)
        seen = 1 + (syn.channels if syn.conditional else 0)
        layers = {"layers": syn.discriminator_layers} if syn.discriminator == "patchgan" else {}
        self.D = DISCRIMINATORS[syn.discriminator](
            seen, base=syn.discriminator_base, norm=syn.discriminator_norm, **layers
        )
        init_weights(self.G, syn.init_std)
        init_weights(self.D, syn.init_std)
        self.pools = nn.ModuleDict({stage: ImagePool(syn.pool) for stage in ("synthesis", "joint")})

    def stages(self) -> list[Stage]:
        """S, then G against D; then both together where asked for."""
        seg, syn = self.settings.segmentation, self.settings.synthesis
        everything = {"method": self.settings.model_dump(mode="json")}

        def players(*modules: str) -> dict[str, Player]:
            critic = {"D": syn.player("D")} if syn.adversarial_weight else {}
            return critic | {"G": syn.player(*modules)}

        alone = {"segmentation": seg.model_dump(mode="json")}
        stages = [
            Stage("segmentation", seg.epochs, {"S": seg.player("S")}, alone, "cross_entropy"),
            Stage("synthesis", syn.epochs, players("G"), everything, "l1_from_maps"),
        ]
        if self.settings.joint_epochs:
            stages.append(Stage("joint", self.settings.joint_epochs, players("S", "G"), everything, "l1_round_trip"))
        return stages

    def losses(self, stage: str, batch: Batch) -> Iterator[Step]:
        """One step of S, or one of D and one of G, or of all three."""
        if stage == "segmentation":
            yield self._segmentation_step(augment_geometry(batch, self.settings.segmentation.augment))
            return
        batch = augment_geometry(batch, AugmentSettings(flip=self.settings.synthesis.flip))
        if stage == "synthesis":
            yield from self._synthesis_steps(stage, batch, self._training_semantics(batch))
        else:
            logits = self.S(batch.x)
            ce = self._cross_entropy(logits, batch)
            yield from self._synthesis_steps(stage, batch, self._to_semantics(logits, batch.brain), ce)

    def segment(self, x: ImageBatch, brain: MaskBatch) -> TissueBatch:
        """S(x): tissue probabilities ``(B, 3, H, W)``, one-hot with discrete semantics."""
        return self._to_semantics(self.S(x), brain)

    def synthesise(self, y: TissueBatch) -> ImageBatch:
        """G(y): image ``(B, 1, H, W)`` in [0, 1] painted from tissue maps."""
        image: Tensor = self.G(generator_input(y, self.settings.synthesis.channels))
        return image

    @torch.no_grad()
    def reconstruct(self, x: ImageBatch, brain: MaskBatch) -> Reconstruction:
        """G(S(x)) and S(x)."""
        self.eval()
        y = self.segment(x, brain)
        return Reconstruction(self.synthesise(y), y)

    def finish(self, x: SliceArray, brain: SliceMask, reconstructed: Reconstructed) -> Reconstructed:
        """Give G(S(x)) the scan's own contrast where ``match`` says so."""
        if self.settings.match == "none" or reconstructed.tissue is None:
            return reconstructed
        return reconstructed._replace(image=match_contrast(x, reconstructed.image, reconstructed.tissue, brain))

    @torch.no_grad()
    def sample(self, stage: str, batch: Batch) -> Reconstruction:
        """S(x) alone while S learns; the whole round trip after."""
        self.eval()
        if stage == "segmentation":
            return Reconstruction(torch.zeros_like(batch.x), self.segment(batch.x, batch.brain))
        return self.reconstruct(batch.x, batch.brain)

    @torch.no_grad()
    def validate(self, stage: str, batch: Batch) -> Mapping[str, Tensor]:
        """In evaluation mode: S's cross-entropy and accuracy in the brain; G's L1 from true and from S's maps."""
        self.eval()
        inside = batch.brain * batch.valid
        if stage == "segmentation":
            logits = self.S(batch.x)
            truth = hard_labels(_maps(batch), batch.brain)
            guess = logits.argmax(dim=1) + (0 if logits.shape[1] == 4 else 1)
            right = ((guess == truth) * inside[:, 0]).sum() / inside.sum().clamp_min(1)
            return {"cross_entropy": self._cross_entropy(logits, batch), "accuracy": right}

        def error(image: Tensor) -> Tensor:
            return ((batch.x - image).abs() * inside).sum() / inside.sum().clamp_min(1)

        y = one_hot(_maps(batch)) if self._trains_discrete else _maps(batch)
        return {
            "l1_from_maps": error(self.synthesise(y)),
            "l1_round_trip": error(self.reconstruct(batch.x, batch.brain).image),
        }

    def _to_semantics(self, logits: Tensor, brain: MaskBatch) -> TissueBatch:
        p = (logits / self.settings.temperature).softmax(dim=1)
        y = p[:, 1:] if p.shape[1] == 4 else p * brain
        return one_hot(y) if self.settings.semantics == "discrete" else y

    @property
    def _trains_discrete(self) -> bool:
        return self.settings.semantics == "discrete" and self.settings.discrete_training

    def _segmentation_step(self, batch: Batch) -> Step:
        x = augment_intensity(batch.x, batch.brain, self.settings.segmentation.augment)
        loss = self._cross_entropy(self.S(x), batch)
        return Step("S", loss, {"cross_entropy": loss})

    def _cross_entropy(self, logits: Tensor, batch: Batch) -> Tensor:
        """L_SEG (Eq. 1) as a mean over the pixels that count."""
        seg, weight = self.settings.segmentation, batch.valid[:, 0]
        target = hard_labels(_maps(batch), batch.brain)
        soft = with_background(_maps(batch))
        if seg.classes == 3:
            weight = weight * (target > 0)
            target, soft = (target - 1).clamp_min(0), _maps(batch)
        loss = F.cross_entropy(logits, soft if seg.target == "soft" else target, reduction="none")
        return (loss * weight).sum() / weight.sum().clamp_min(1)

    @torch.no_grad()
    def _training_semantics(self, batch: Batch) -> TissueBatch:
        """The maps y that G learns from (A10, A25)."""
        source = self.settings.synthesis.source
        if source == "segmenter" or (source == "mixed" and bool(torch.rand(()) < 0.5)):
            self.S.eval()
            p = self.segment(batch.x, batch.brain)
        else:
            p = _maps(batch)
        return one_hot(p) if self._trains_discrete else p

    def _synthesis_steps(self, stage: str, batch: Batch, y: TissueBatch, extra: Tensor | None = None) -> Iterator[Step]:
        """min_G max_D L_GAN + lambda L_1 (Eq. 2-4): D's and G's step share one G(y).

        ``extra`` is added to G's loss: S's cross-entropy where both learn together.
        """
        syn = self.settings.synthesis
        fake = self.synthesise(y)
        difference = (batch.x - fake).abs() * batch.valid
        l1 = difference.sum(dim=(1, 2, 3)).mean()
        if syn.l1_reduction == "mean":
            l1 = difference.sum() / batch.valid.sum().clamp_min(1)
        log = {"l1": l1} if extra is None else {"l1": l1, "cross_entropy": extra}
        reconstruction = syn.lambda_l1 * l1 + (0 if extra is None else extra)
        if not syn.adversarial_weight:
            yield Step("G", reconstruction, log)
            return
        gan = ADVERSARIAL[syn.loss]
        condition = [generator_input(y.detach(), syn.channels)] if syn.conditional else []

        def shown(image: Tensor) -> Tensor:
            return torch.cat([image * batch.valid, *condition], dim=1)

        def judge(seen: Tensor) -> Tensor:
            logits: Tensor = self.D(seen)
            return logits

        def d_step() -> Step:
            loss = gan.discriminator(judge(shown(batch.x)), judge(self.pools[stage](shown(fake))))
            return Step("D", syn.discriminator_weight * loss, {"discriminator": loss})

        if syn.first == "discriminator":
            yield d_step()
        self.D.requires_grad_(False)  # G's step needs D's gradient with respect to the image only
        adversarial = gan.generator(judge(shown(fake)))
        self.D.requires_grad_(True)
        yield Step("G", syn.adversarial_weight * adversarial + reconstruction, {"adversarial": adversarial, **log})
        if syn.first == "generator":
            yield d_step()


def _maps(batch: Batch) -> TissueBatch:
    if batch.y is None:
        msg = "expected tissue maps with the slices, got none"
        raise ValueError(msg)
    return batch.y
