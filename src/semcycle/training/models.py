"""A model by its name: a bundled one, a run folder, or the intensity baseline made like one of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from semcycle.config import change_settings
from semcycle.files import object_hash
from semcycle.training.calibration import Calibration
from semcycle.training.checkpoint import Checkpoint, load_checkpoint
from semcycle.training.recipe import parse_recipe
from semcycle.training.shipped import DEFAULT, find_model

INTENSITY = "intensity"


def open_model(name: str | Path, device: str = "cpu") -> Checkpoint:
    """Open what ``--model`` names.

    Args:
        name: A bundled model, a run folder, or ``intensity``: the scan's own brightness as the score, prepared and
            post-processed exactly as the default model prepares and post-processes; ``intensity=MODEL`` as another.
        device: Where the networks run.

    Raises:
        CheckpointError: Not a finished run, or a damaged file.
        SettingsError: There is no such device here.
    """
    word, _, like = str(name).partition("=")
    if word != INTENSITY:
        return load_checkpoint(find_model(name), device)
    return make_baseline(load_checkpoint(find_model(like or DEFAULT), device))


def make_baseline(like: Checkpoint) -> Checkpoint:
    """The intensity baseline of a model: its preparation and its post-processing, and no network.

    A baseline that gets another intensity scale or less post-processing than what it is compared with is beaten by the
    difference in treatment; a healthy prior is left out, for it is about the model's errors. It carries no
    thresholds: a healthy share of brightness is nobody's lesion.
    """
    recipe = parse_recipe({"method": {"name": INTENSITY}}, INTENSITY, INTENSITY)
    preset = f"{like.preset},prior=off" if like.calibration and like.calibration.prior else like.preset
    record = {"fingerprint": object_hash([INTENSITY, like.preprocess.model_dump(mode="json"), preset])}
    calibration = Calibration(preset=preset, source="nothing, it has no thresholds", cases=[], thresholds={})
    return Checkpoint(like.folder, recipe, like.preprocess, record, recipe.build().eval(), calibration)


def use_skull(checkpoint: Checkpoint, how: str) -> Checkpoint:
    """A model whose scans have their skulls stripped in this way.

    Raises:
        SettingsError: There is no such way.
    """
    preprocess = change_settings(checkpoint.preprocess, [f"skull={how}"], "--skull")
    return replace(checkpoint, preprocess=preprocess)
