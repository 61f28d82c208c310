"""The run folder of a training: what is trained there, how far it is, and what remains of it at the end.

A resume file holds networks, optimisers and progress after the last finished epoch.
"""

from __future__ import annotations

import json
import platform
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.optim import Optimizer

from semcycle.errors import CheckpointError
from semcycle.files import VERSION, file_hash, object_hash, sweep, write_bytes
from semcycle.methods.base import Method, Stage
from semcycle.store.slice_store import SliceStore
from semcycle.training.checkpoint import Checkpoint, load_checkpoint, pack_state, read_metadata, save_checkpoint
from semcycle.training.recipe import Recipe
from semcycle.training.selection import BEST
from semcycle.training.shipped import WEIGHTS, find_model
from semcycle.training.slices import used_cases

RESUME = "resume.safetensors"


@dataclass(frozen=True)
class Run:
    """All that the weights of a run depend on.

    Attributes:
        folder: The run folder.
        recipe: What is trained.
        store: Hash of the slice store.
        train_cases: Cases that are learned from.
        validation_cases: Cases of the subjects that are held out.
        start: Hash of the weights that the recipe's ``start`` names; empty without.
    """

    folder: Path
    recipe: Recipe
    store: str
    train_cases: list[str]
    validation_cases: list[str]
    start: str = ""

    @property
    def fingerprint(self) -> str:
        """Hash of recipe, data and split; a resumed run must have the same."""
        return object_hash([self.recipe.to_dict(), self._data])

    def stage_fingerprint(self, stage: Stage) -> str:
        """Hash of what the weights after a stage depend on besides the stages before it."""
        training = self.recipe.training.model_dump(mode="json")
        return object_hash([stage.name, stage.settings, stage.epochs, self._data, self.recipe.seed, training])

    @property
    def _data(self) -> dict[str, Any]:
        return {
            **({"start": self.start} if self.start else {}),
            "store": self.store,
            "slices": self.recipe.slices.model_dump(mode="json"),
            "train_cases": self.train_cases,
            "validation_cases": self.validation_cases,
        }


def plan_run(recipe: Recipe, store: SliceStore, cases: Sequence[str], folder: Path) -> Run:
    """Settle what is trained, and which subjects are held out to watch the losses."""
    used = used_cases(store, cases, recipe.slices)
    subjects = sorted({store.subject(case) for case in used})
    random.Random(recipe.seed).shuffle(subjects)
    held_out = set(subjects[: int(len(subjects) * recipe.training.validation_share)])
    train_cases = [case for case in used if store.subject(case) not in held_out]
    validation_cases = [case for case in used if store.subject(case) in held_out]
    start = file_hash(find_model(recipe.start) / WEIGHTS) if recipe.start else ""
    return Run(folder, recipe, store.hash, train_cases, validation_cases, start)


def recorded_run(checkpoint: Checkpoint) -> Run:
    """What a finished run was trained on; options that are newer than the run have their defaults."""
    record = checkpoint.record
    cases = record["train_cases"], record["validation_cases"]
    return Run(checkpoint.folder, checkpoint.recipe, record["store"]["hash"], *cases, record.get("start", ""))


def claim_folder(run: Run, *, resume: bool) -> Progress | None:
    """Where to start, or ``None`` when the run is finished.

    Raises:
        CheckpointError: The folder holds a run and ``resume`` is off, or a run of something else.
    """
    folder = run.folder
    if (folder / WEIGHTS).is_file():
        if not resume:
            msg = f"{folder}: expected an empty run folder, got a finished run; choose another --out"
            raise CheckpointError(msg)
        if recorded_run(load_checkpoint(folder)).fingerprint != run.fingerprint:
            msg = (
                f"{folder}: expected a run of the same recipe, store and split, got a finished one of others; choose "
                "another --out"
            )
            raise CheckpointError(msg)
        _drop_unfinished(folder)  # it may have been killed just before
        return None
    if (folder / RESUME).is_file():
        if not resume:
            msg = f"{folder}: expected an empty run folder, got an unfinished run; add --resume or choose another --out"
            raise CheckpointError(msg)
        return read_progress(folder, run.fingerprint)
    return Progress(run.fingerprint)


def take_over(run: Run, finished: Path, method: Method[Any]) -> int:
    """Copy the networks of another run's leading equal stages.

    Args:
        run: What is to be trained.
        finished: Folder of the other run.
        method: Of ``run``; its networks are filled.

    Returns:
        How many stages that spares.

    Raises:
        CheckpointError: The other run's first stage is another one, or its networks have learned since.
    """
    other, stages = load_checkpoint(finished), method.stages()
    ours = [run.stage_fingerprint(stage) for stage in stages]
    theirs = [recorded_run(other).stage_fingerprint(stage) for stage in other.method.stages()]
    equal = 0
    while equal < min(len(ours), len(theirs)) and ours[equal] == theirs[equal]:
        equal += 1
    if equal == 0:
        msg = (
            f"{finished}: expected a run with the same first stage (settings, data, seed), got another; train without "
            "--reuse"
        )
        raise CheckpointError(msg)
    # a network that learns again in a later stage of the other run is not what it was after the shared stages
    later = {
        name for stage in other.method.stages()[equal:] for player in stage.players.values() for name in player.modules
    }
    names = [name for stage in stages[:equal] for player in stage.players.values() for name in player.modules]
    if changed := sorted(later & set(names)):
        msg = (
            f"{finished}: expected networks left alone after the shared stages, got {', '.join(changed)} trained "
            "further; train without --reuse"
        )
        raise CheckpointError(msg)
    for name in names:
        getattr(method, name).load_state_dict(getattr(other.method, name).state_dict())
    return equal


def finish_run(
    run: Run, store: SliceStore, method: Method[Any], seconds: float, *, device: str, processes: int
) -> None:
    """Write the finished run and drop what only an unfinished one needs."""
    used = [*run.train_cases, *run.validation_cases]
    record = {
        "semcycle": VERSION,
        "fingerprint": run.fingerprint,
        "recipe": run.recipe.to_dict(),
        "store": {"hash": store.hash, "settings": store.settings},
        "train_cases": run.train_cases,
        "validation_cases": run.validation_cases,
        **({"start": run.start} if run.start else {}),
        "subjects": sorted({store.subject(case) for case in used}),
        "stages": [
            {"name": stage.name, "epochs": stage.epochs, "fingerprint": run.stage_fingerprint(stage)}
            for stage in method.stages()
        ],
        "seconds": round(seconds, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "device": device,
        "processes": processes,
    }
    save_checkpoint(run.folder, method, record)
    _drop_unfinished(run.folder)


def _drop_unfinished(folder: Path) -> None:
    """Remove what only an unfinished run needs, and what killed ones left."""
    for path in (folder / RESUME, *folder.glob(BEST.format("*"))):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder / "slices", ignore_errors=True)
    sweep(folder)


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
    """Write the resume file atomically; the older one stands until the new one is whole.

    Buffers that are no weights, such as an image pool, are in it too: the rest of the training depends on them.
    """
    weights = method.state_dict()
    tensors = {f"method/{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"buffer/{name}": tensor for name, tensor in method.named_buffers() if name not in weights}
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
    for name, tensor in tensors.items():
        if name.startswith("buffer/"):
            owner, _, buffer = name[7:].rpartition(".")
            setattr(method.get_submodule(owner), buffer, tensor)
    for player, optimizer in optimizers.items():
        prefix = f"optimizer/{player}/"
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith(prefix):
                number, _, key = name[len(prefix) :].partition("/")
                state.setdefault(int(number), {})[key] = tensor
        if state:
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
