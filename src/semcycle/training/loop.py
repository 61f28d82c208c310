"""One loop for every method, stage and player, on Lightning Fabric.

The order of slices and all random draws of an epoch follow from seed, stage and epoch alone, and a resume file is
written after every epoch, so that a killed run that is resumed ends in the weights of an uninterrupted one.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from semcycle.errors import CheckpointError, StoreError
from semcycle.files import object_hash
from semcycle.methods.base import Batch, Method, Player, Stage
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.store.slice_store import SliceStore
from semcycle.training.accumulation import gradient_steps
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.hardware import Hardware, start_fabric
from semcycle.training.log import Epoch, Observer, TrainingLog
from semcycle.training.recipe import Recipe
from semcycle.training.run_folder import (
    RESUME,
    Progress,
    Run,
    claim_folder,
    finish_run,
    plan_run,
    restore,
    save_progress,
    take_over,
)
from semcycle.training.selection import Selection
from semcycle.training.shipped import find_model
from semcycle.training.slices import Batches, freeze_slices, pack_slices

SAMPLES = 4
"""Slices shown after every epoch."""


def train(
    recipe: Recipe,
    store: SliceStore,
    cases: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    reuse: Path | None = None,
    hardware: Hardware | None = None,
    observer: Observer | None = None,
) -> Path:
    """Train all stages of a recipe.

    Args:
        recipe: What to train.
        store: Prepared slices.
        cases: Training cases of the store.
        out: Run folder, made when missing.
        resume: Continue an unfinished run in ``out``; a finished one is left as it is.
        reuse: A finished run whose leading stages with equal settings, data and seed are taken over instead of
            trained again; the outcome is the same.
        hardware: Device, precision, number of processes.
        observer: Told of the progress.

    Returns:
        ``out``, holding ``model.safetensors``, ``run.json``, ``log.csv`` and TensorBoard curves.

    Raises:
        CheckpointError: ``out`` holds a run and ``resume`` is off, or a run of something else.
        StoreError: The store has no tissue maps though the method needs them, or no slice is left to train on.
    """
    fabric = start_fabric(hardware or Hardware())
    run = plan_run(recipe, store, cases, out)
    progress = claim_folder(run, resume=resume)
    if progress is None:
        return out
    torch.manual_seed(recipe.seed)
    method = recipe.build()
    if recipe.start:
        _start_from(method, recipe.start, store)
    # measured: a third faster for G and D on 2 CPU cores, no difference for S
    method.to(fabric.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves it out
    batches, held_out = _open_data(run, store, method, fabric)
    if reuse is not None and not progress.rows:
        progress.stage = take_over(run, reuse, method)
    stages = method.stages()
    log = TrainingLog(out, progress.rows)
    learner = _Learner(recipe, fabric, method, batches, observer if observer and fabric.is_global_zero else Observer())
    for number in range(progress.stage, len(stages)):
        stage, started = stages[number], time.perf_counter()
        optimizers = {name: _make_optimizer(fabric, method, player) for name, player in stage.players.items()}
        if resume and (out / RESUME).is_file() and number == progress.stage:
            restore(out, method, optimizers)
            method.to(fabric.device)
        first = progress.epoch if number == progress.stage else 0
        selection = Selection(out, recipe.training, stage, progress.rows)
        for epoch in range(first + 1, stage.epochs + 1):
            if selection.exhausted:
                break
            before = time.perf_counter()
            losses, rate = _train_epoch(learner, stage, optimizers, epoch)
            figures = _validate(method, stage, held_out, recipe.training.batch_size)
            entry = Epoch(stage.name, epoch, stage.epochs, losses, figures, rate, time.perf_counter() - before)
            selection.add(figures, method, save=fabric.is_global_zero)
            if fabric.is_global_zero:
                log.add(entry)
                spent = progress.seconds + time.perf_counter() - started
                shown = _sample_batch(held_out or batches)
                learner.observer.epoch_done(entry, shown, method.sample(stage.name, shown))
                # last: a run killed before it does this epoch again, picture and all
                save_progress(out, Progress(run.fingerprint, number, epoch, spent, log.rows), method, optimizers)
            fabric.barrier()
        selection.take_best(method)
        progress.seconds += time.perf_counter() - started
    if fabric.is_global_zero:
        finish_run(run, store, method, progress.seconds, device=str(fabric.device), processes=fabric.world_size)
    fabric.barrier()
    return out


@dataclass(frozen=True)
class _Learner:
    """What stays the same through all stages."""

    recipe: Recipe
    fabric: Fabric
    method: Method[Any]
    batches: Batches
    observer: Observer


def _train_epoch(
    learner: _Learner, stage: Stage, optimizers: Mapping[str, Any], epoch: int
) -> tuple[dict[str, float], float]:
    """Learn from every slice once; returns mean losses and the last learning rate."""
    fabric, method, batches, training = learner.fabric, learner.method, learner.batches, learner.recipe.training
    seed = _epoch_seed(learner.recipe.seed, stage.name, epoch)
    torch.manual_seed(seed + fabric.global_rank)
    method.eval()
    modules = {name: _modules(method, player) for name, player in stage.players.items()}
    for module in modules.values():
        module.train()
    steps = batches.steps(training.batch_size)
    learner.observer.epoch_started(stage.name, epoch, stage.epochs, steps)
    sums: dict[str, torch.Tensor] = defaultdict(lambda: torch.zeros((), device=fabric.device))
    show_every = 1 if fabric.device.type == "cpu" else 20  # reading a loss makes a GPU wait
    rate = 0.0
    drawn = batches.epoch(training.batch_size, seed, rank=fabric.global_rank, ranks=fabric.world_size)
    for number, batch in enumerate(drawn):
        factor = _decay(training.decay, (epoch - 1 + number / steps) / stage.epochs)
        for player, log in gradient_steps(fabric, method, stage.name, batch, optimizers, training.parts):
            optimizer = optimizers[player]
            rate = stage.players[player].learning_rate * factor
            for group in optimizer.param_groups:
                group["lr"] = rate
            _average_gradients(fabric, modules[player])
            if training.clip:
                fabric.clip_gradients(modules[player], optimizer, max_norm=training.clip, error_if_nonfinite=False)
            optimizer.step()
            for name, value in log.items():
                sums[name] += value.detach()
        if number % show_every == 0:
            learner.observer.step_done({name: float(value) / (number + 1) for name, value in sums.items()})
    return {name: float(value) / steps for name, value in sums.items()}, rate


def _validate(method: Method[Any], stage: Stage, held_out: Batches | None, size: int) -> dict[str, float]:
    """The method's own figures over all held-out slices."""
    if held_out is None:
        return {}
    sums: dict[str, float] = defaultdict(float)
    for start in range(0, len(held_out), size):
        index = np.arange(start, min(start + size, len(held_out)))
        for name, value in method.validate(stage.name, held_out.take(index)).items():
            sums[name] += float(value) * len(index) / len(held_out)
    return dict(sums)


def _average_gradients(fabric: Fabric, module: nn.Module) -> None:
    """Data parallelism for any number of players: one mean over the processes' gradients a step.

    DistributedDataParallel expects one backward pass per forward of the wrapped network, which a generator and its
    critic sharing a graph do not keep to.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in module.parameters()]
    mean = fabric.all_reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduce_op="mean")
    if not isinstance(mean, torch.Tensor):
        msg = f"expected a tensor from all_reduce, got {type(mean).__name__}"
        raise TypeError(msg)
    parts = mean.split([gradient.numel() for gradient in gradients])
    for parameter, part in zip(module.parameters(), parts, strict=True):
        parameter.grad = part.view_as(parameter)


def _decay(kind: str, done: float) -> float:
    """Factor on the learning rate when ``done`` in [0, 1) of a stage is over."""
    if kind == "linear":
        return min(1.0, 2 * (1 - done))
    return 0.5 * (1 + math.cos(math.pi * done)) if kind == "cosine" else 1.0


def _epoch_seed(seed: int, stage: str, epoch: int) -> int:
    return int(object_hash([seed, stage, epoch])[:12], 16)


def _modules(method: Method[Any], player: Player) -> nn.ModuleList:
    return nn.ModuleList(getattr(method, name) for name in player.modules)


def _make_optimizer(fabric: Fabric, method: Method[Any], player: Player) -> Any:
    parameters = _modules(method, player).parameters()
    return fabric.setup_optimizers(torch.optim.Adam(parameters, player.learning_rate, player.betas))


def _sample_batch(batches: Batches) -> Batch:
    return batches.take(np.linspace(0, len(batches) - 1, min(SAMPLES, len(batches))).astype(int))


def _start_from(method: Method[Any], model: str, store: SliceStore) -> None:
    """Give a method that stands on another one the trained networks of that."""
    other = load_checkpoint(find_model(model))
    given = PreprocessSettings.model_validate(store.settings["preprocess"])
    if differing := given.differences(other.preprocess):
        msg = (
            f"{store.folder}: expected a store prepared like that of {model}, got {'; '.join(differing)}; prepare it so"
        )
        raise StoreError(msg)
    try:
        method.start_from(other.method)
    except ValueError as error:
        msg = f"{model}: {error}"
        raise CheckpointError(msg) from error


def _open_data(run: Run, store: SliceStore, method: Method[Any], fabric: Fabric) -> tuple[Batches, Batches | None]:
    """Slices to learn from, and those of the subjects that are held out, if any."""
    cache = run.folder / "slices" / str(fabric.global_rank)

    def open_cases(cases: list[str], name: str) -> Batches:
        block = pack_slices(store, cases, run.recipe.slices, cache / name)
        for missing, remedy in (
            ("tissue", "prepare it with --tissue maps"),
            ("anomaly", "make one with `semcycle paste`"),
        ):
            if getattr(method, f"needs_{missing}") and getattr(block, missing) is None:
                msg = (
                    f"{store.folder}: expected {_NEEDS[missing]} for method {run.recipe.method_name}, got a store "
                    f"without; {remedy}"
                )
                raise StoreError(msg)
        with fabric.autocast():
            frozen = freeze_slices(block, method, cache / name, fabric.device, run.fingerprint)
        return Batches(block, fabric.device, frozen)

    training = open_cases(run.train_cases, "train")
    return training, open_cases(run.validation_cases, "held-out") if run.validation_cases else None


_NEEDS = {"tissue": "tissue maps", "anomaly": "drawn anomalies"}
