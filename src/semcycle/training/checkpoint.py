"""Checkpoint: a finished run's weights and everything needed to use and to judge them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from semcycle.errors import CheckpointError, error_line
from semcycle.files import read_json, write_bytes, write_json
from semcycle.methods.base import Method
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.training.calibration import PRIOR, Calibration
from semcycle.training.hardware import find_device
from semcycle.training.recipe import Recipe, parse_recipe
from semcycle.training.shipped import CARD, WEIGHTS

RECORD = "run.json"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A finished run.

    Attributes:
        folder: Where it lies.
        recipe: What was trained.
        preprocess: How scans have to be prepared for it: as those it learned from, and centred as those it was
            calibrated on.
        record: The whole of ``run.json``: store hash, training cases and subjects, stages, versions, seconds.
        method: Networks with weights, in evaluation mode.
        calibration: Thresholds of ``semcycle calibrate``, if it was run.
        engine: What computes the networks (:mod:`semcycle.training.engines`).
    """

    folder: Path
    recipe: Recipe
    preprocess: PreprocessSettings
    record: dict[str, Any]
    method: Method[Any]
    calibration: Calibration | None = None
    engine: str = "torch"

    @property
    def preset(self) -> str:
        """Post-processing the model is meant to be used with."""
        return self.calibration.preset if self.calibration else "literal"


def save_checkpoint(folder: Path, method: Method[Any], record: dict[str, Any]) -> None:
    """Write ``run.json`` and, last, ``model.safetensors``: a run without weights is unfinished."""
    write_json(folder / RECORD, {"format": _FORMAT, **record})
    write_bytes(folder / WEIGHTS, pack_state(method.state_dict()))


def pack_state(state: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Tensors as safetensors bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, metadata)


def export_checkpoint(run: Path, folder: Path) -> Path:
    """Pack a finished run for others: the networks of prediction, its record and its calibration.

    Weights are halved where half precision can hold them. A batch norm's running variance often is beyond its range
    (65,504) and would become infinite, which silences the layer; such statistics stay as they are.

    Args:
        run: A finished run.
        folder: For ``model.safetensors``, ``run.json``, ``calibration.json``, ``prior.safetensors`` and the model card.

    Returns:
        The weights.

    Raises:
        CheckpointError: ``run`` is no finished run.
    """
    checkpoint = load_checkpoint(run)
    weights = {name for name, _ in checkpoint.method.named_parameters()}
    state = {
        name: tensor.half() if name in weights and tensor.abs().max() < torch.finfo(torch.half).max else tensor
        for name, tensor in checkpoint.method.state_dict().items()
    }
    copy_companions(checkpoint, folder)
    write_bytes(folder / WEIGHTS, pack_state(state))
    return folder / WEIGHTS


def copy_companions(checkpoint: Checkpoint, folder: Path) -> None:
    """Put a model's record, and its calibration, prior and card where it has them, beside its exported networks."""
    if checkpoint.calibration:
        checkpoint.calibration.save(folder)
    for name in (PRIOR, CARD):
        if (checkpoint.folder / name).is_file():
            write_bytes(folder / name, (checkpoint.folder / name).read_bytes())
    write_json(folder / RECORD, checkpoint.record)


def load_checkpoint(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """Open a run folder.

    Raises:
        CheckpointError: Not a finished run, a damaged file, or weights of another network.
        SettingsError: There is no such device here.
    """
    device = find_device(device)
    if not (folder / WEIGHTS).is_file() or not (folder / RECORD).is_file():
        state = (
            "an unfinished run; continue it with `semcycle train --resume`" if (folder / RECORD).is_file() else "none"
        )
        msg = f"{folder}: expected a finished run ({WEIGHTS} and {RECORD}), found {state}"
        raise CheckpointError(msg)
    try:
        record = read_json(folder / RECORD)
        if record["format"] != _FORMAT:
            msg = f"{folder / RECORD}: expected run format {_FORMAT}, got {record['format']}; train it again"
            raise CheckpointError(msg)
        recipe = parse_recipe(record["recipe"], str(folder / RECORD))
        preprocess = PreprocessSettings.model_validate(record["store"]["settings"]["preprocess"])
        _check_record(record)
    except (ValueError, KeyError, TypeError) as error:
        reason = error_line(error)[:160]
        msg = f"{folder / RECORD}: expected the record of a run, got a damaged file ({reason}); train it again"
        raise CheckpointError(msg) from error
    method = recipe.build()
    load_weights(method, folder / WEIGHTS)
    # measured (benchmarks/inference.py): 1.4 times as fast on a CPU
    method.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out
    calibration = Calibration.load(folder)
    if calibration and calibration.centre:
        preprocess = preprocess.model_copy(update={"centre": calibration.centre})
    return Checkpoint(folder, recipe, preprocess, record, method.eval(), calibration)


def _check_record(record: dict[str, Any]) -> None:
    """Refuse a record whose parts, where they are there, are not what the rest of the code takes them for."""
    kinds = {"fingerprint": str, "train_cases": list, "validation_cases": list, "subjects": list, "start": str}
    wrong = [name for name, kind in kinds.items() if name in record and not isinstance(record[name], kind)]
    lists = [record.get(name, []) for name, kind in kinds.items() if kind is list and name not in wrong]
    if wrong or "fingerprint" not in record or not all(isinstance(case, str) for names in lists for case in names):
        msg = f"{', '.join(wrong) or 'fingerprint or a list of names'} is not what a run records"
        raise ValueError(msg)


def load_weights(method: Method[Any], path: Path) -> None:
    """Fill a method's networks from a file.

    Raises:
        CheckpointError: The file is damaged or holds the weights of another network; the first tensor that
            differs is named.
    """
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path}: expected weights as safetensors, got a missing or damaged file ({error}); train it again"
        raise CheckpointError(msg) from error
    wanted = method.state_dict()
    for name in [*wanted, *state]:
        have = tuple(state[name].shape) if name in state else "none"
        want = tuple(wanted[name].shape) if name in wanted else "none"
        if have != want:
            msg = (
                f"{path}: expected the weights of the recipe's network, got another one's: {name} is {have}, not {want}"
            )
            raise CheckpointError(msg)
    method.load_state_dict(state)


def read_metadata(path: Path) -> dict[str, str]:
    """Text stored in a safetensors file's header.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        with safe_open(path, "pt") as stream:
            return dict(stream.metadata() or {})
    except (OSError, SafetensorError) as error:
        msg = f"{path}: expected safetensors, got a damaged file ({error}); remove it and train again"
        raise CheckpointError(msg) from error
