"""The resume file: networks, optimisers and progress after the last finished epoch, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.optim import Optimizer

from semcycle.errors import CheckpointError
from semcycle.files import write_bytes
from semcycle.methods.base import Method
from semcycle.training.checkpoint import pack_state, read_metadata

RESUME = "resume.safetensors"


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        fingerprint: Hash of recipe, data and split; a resumed run must have the same.
        stage: Index of the current stage.
        epoch: Finished epochs of that stage.
        seconds: Wall time spent so far.
        rows: Of ``log.csv``.
    """

    fingerprint: str
    stage: int = 0
    epoch: int = 0
    seconds: float = 0.0
    rows: list[dict[str, Any]] = field(default_factory=list)


def save_progress(folder: Path, progress: Progress, method: Method[Any], optimizers: Mapping[str, Optimizer]) -> None:
    """Write the resume file atomically; the older one stands until the new one is whole."""
    tensors = {f"method/{name}": tensor for name, tensor in method.state_dict().items()}
    for player, optimizer in optimizers.items():
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{player}/{number}/{key}": torch.as_tensor(value) for key, value in state.items()}
    write_bytes(folder / RESUME, pack_state(tensors, {"progress": json.dumps(asdict(progress))}))


def read_progress(folder: Path, fingerprint: str) -> Progress:
    """How far an unfinished run is.

    Raises:
        CheckpointError: The file is damaged, or belongs to another recipe, store or split.
    """
    path = folder / RESUME
    try:
        progress = Progress(**json.loads(read_metadata(path)["progress"]))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"{path}: expected a resume file, got a damaged one ({error}); remove the folder and train again"
        raise CheckpointError(msg) from error
    if progress.fingerprint != fingerprint:
        msg = (
            f"{folder}: expected a run of the same recipe, store and split, got an unfinished one of others; "
            "choose another --out, or resume with what it was started with"
        )
        raise CheckpointError(msg)
    return progress


def restore(folder: Path, method: Method[Any], optimizers: Mapping[str, Optimizer]) -> None:
    """Fill networks and optimisers from the resume file; optimisers without a saved state stay fresh."""
    tensors = load_file(folder / RESUME)
    method.load_state_dict({name[7:]: tensor for name, tensor in tensors.items() if name.startswith("method/")})
    for player, optimizer in optimizers.items():
        prefix = f"optimizer/{player}/"
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                number, _, key = name[len(prefix) :].partition("/")
                state.setdefault(int(number), {})[key] = tensor
        if state:
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
