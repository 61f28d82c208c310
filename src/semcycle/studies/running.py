"""Experiments: train runs with pictures and progress, and score any number of them in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from semcycle.console import describe_losses, err, make_progress
from semcycle.errors import CheckpointError, Failure, ScoringError
from semcycle.files import write_failures, write_json
from semcycle.methods.base import Batch, Reconstruction
from semcycle.methods.intensity import Intensity, IntensitySettings
from semcycle.prediction.postprocess import find_preset
from semcycle.prediction.prior import HealthyPrior
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.processes import Workers
from semcycle.report.canvas import save_figure
from semcycle.report.figures import sample_figure
from semcycle.scoring.runs import Contestant, score_runs
from semcycle.scoring.table import ScoreTable
from semcycle.scoring.thresholds import carried_thresholds, threshold_data
from semcycle.store.slice_store import SliceStore
from semcycle.training import Epoch, Hardware, Observer, train
from semcycle.training.checkpoint import Checkpoint, load_checkpoint
from semcycle.training.hardware import find_device
from semcycle.training.recipe import Recipe

DEFAULT_PRESETS = ("literal", "baur")
"""Post-processing that a table shows unless others are asked for."""


def run_training(
    recipe: Recipe,
    store: SliceStore,
    cases: Sequence[str],
    out: Path,
    *,
    resume: bool = False,
    reuse: Path | None = None,
    hardware: Hardware | None = None,
) -> Path:
    """Train with a progress bar and a sample picture an epoch; arguments as of :func:`semcycle.training.train`."""
    with TrainingDisplay(out) as display:
        return train(recipe, store, cases, out, resume=resume, reuse=reuse, hardware=hardware, observer=display)


class TrainingDisplay(Observer):
    """A progress bar with losses, a line an epoch, and ``samples/<stage>-<epoch>.png`` in the run folder.

    Args:
        out: The run folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._progress = make_progress()
        self._task = self._progress.add_task("", total=None, note="")

    def __enter__(self) -> TrainingDisplay:
        """Start the bar."""
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop the bar."""
        self._progress.stop()

    def epoch_started(self, stage: str, epoch: int, epochs: int, steps: int) -> None:
        """Reset the bar."""
        self._progress.reset(self._task, total=steps, description=f"{stage} {epoch}/{epochs}", note="")

    def step_done(self, losses: Mapping[str, float]) -> None:
        """Advance the bar."""
        self._progress.update(self._task, advance=1, note=describe_losses(losses))

    def epoch_done(self, epoch: Epoch, batch: Batch, sample: Reconstruction) -> None:
        """Print the epoch's line, and draw the sample as a file and for TensorBoard."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        figures = describe_losses(
            {**epoch.losses, **{f"held-out {key}": value for key, value in epoch.validation.items()}}
        )
        err.print(f"{epoch.stage} {epoch.epoch}/{epoch.epochs}  {figures}  {epoch.seconds:.1f} s", style="dim")
        tissue = None if sample.tissue is None else sample.tissue.float().cpu().numpy()
        x, image = (tensor.float().cpu().numpy()[:, 0] for tensor in (batch.x, sample.image))
        figure = sample_figure(x, tissue, image)
        (self._out / "samples").mkdir(parents=True, exist_ok=True)
        save_figure(figure, self._out / "samples" / f"{epoch.stage}-{epoch.epoch:03d}")
        with SummaryWriter(str(self._out / "tensorboard" / "samples"), purge_step=epoch.epoch) as writer:
            writer.add_figure(epoch.stage, figure, epoch.epoch, close=False)


def run_scoring(
    runs: Mapping[str, Path],
    store: SliceStore,
    cases: Sequence[str],
    out: Path,
    *,
    presets: Sequence[str] = DEFAULT_PRESETS,
    device: str = "cpu",
    progress: Callable[[str], None] = lambda name: None,
    facts: Mapping[str, Any] | None = None,
    thresholds_from: Sequence[str] = (),
    lesions: bool = True,
    all_voxels: bool = False,
    workers: Workers | None = None,
) -> tuple[ScoreTable, list[Failure]]:
    """Score runs and the untrained intensity baseline on the same voxels, and write the table.

    Args:
        runs: Name in the table -> run folder.
        store: Slices with truth.
        cases: Test cases.
        out: For the files of :class:`ScoreTable` and ``facts.json``.
        presets: Post-processing.
        device: Where the networks run.
        progress: Called with every finished case.
        facts: What else the report should say.
        thresholds_from: Where thresholds come from besides the oracles: words of :mod:`semcycle.scoring.thresholds`.
        lesions: Whether to count lesions and measure surfaces, about a second a case, run and preset.
        all_voxels: Count the background too, as healthy (A22).
        workers: Processes with one thread each, or a Dask cluster; ``None`` for this process with all its threads.

    Returns:
        The table, and the cases that are not in it, also in ``failures.csv``.

    Raises:
        CheckpointError: A run was trained on slices that were prepared differently.
        SplitError: A run saw a test subject in training, or a threshold would be set on one.
        ScoringError: There is nothing to score, or no such preset.
        SettingsError: There is no such device here.
    """
    find_device(device)  # also where there is no run to put on it
    if not cases:
        msg = f"{store.folder}: expected test cases, got none; check the split"
        raise ScoringError(msg)
    for preset in presets:
        find_preset(preset)
    checkpoints = {name: load_checkpoint(folder, device) for name, folder in runs.items()}
    for checkpoint in checkpoints.values():
        check_preprocess(checkpoint, store)
    contestants = [_contestant(name, checkpoint) for name, checkpoint in checkpoints.items()]
    baseline = intensity_baseline()
    sources = threshold_data(thresholds_from, checkpoints, [baseline.name], store, cases)
    for source in sources:
        for checkpoint in checkpoints.values():
            check_preprocess(checkpoint, source.store)
    table, failures = score_runs(
        [*contestants, baseline],
        store,
        cases,
        presets=presets,
        progress=progress,
        thresholds=sources,
        lesions=lesions,
        all_voxels=all_voxels,
        carried=carried_thresholds(checkpoints, presets, store, cases),
        scratch=out,
        workers=workers,
    )
    table.save(out)
    write_failures(out / "failures.csv", failures)
    failed = {failure.case_id for failure in failures}
    if note := prior_note(presets, store, cases):
        err.print(note, style="yellow")
    trained = {
        name: {
            "recipe": checkpoint.recipe.name,
            "training cases": len(checkpoint.record["train_cases"]),
            "training seconds": checkpoint.record["seconds"],
            "seed": checkpoint.recipe.seed,
        }
        for name, checkpoint in checkpoints.items()
    }
    write_json(
        out / "facts.json",
        {
            "cohort": store.settings["cohort"],
            "test cases": [case for case in cases if case not in failed],
            "store": store.hash[:12],
            "runs": trained,
            **({"voxels": "all, the background as healthy"} if all_voxels else {}),
            **({"hyper-intensity prior": note} if note else {}),
            **(facts or {}),
        },
    )
    return table, failures


def prior_note(presets: Sequence[str], store: SliceStore, cases: Sequence[str]) -> str:
    """Which cases' hyper-intensity prior looks at the slices of the store and not at the whole scan."""
    steps = map(find_preset, presets)
    if not any(step.prior_quantile is not None and step.prior_scope == "volume" for step in steps):
        return ""
    without = [case for case in cases if store.load(case).quantiles is None]
    if not without:
        return ""
    return (
        f"{store.folder}: {len(without)} of {len(cases)} cases do not tell the quantiles of their whole scan, so that "
        "prior_quantile (baur) is taken over their slices in the store and leaves out more of the brain than "
        "`semcycle predict`; prepare the store anew to have the same level"
    )


def name_runs(runs: Sequence[Path]) -> dict[str, Path]:
    """Folder names as names in the table, made unique by their parents'."""
    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.resolve().parent.name}/{run.resolve().name}" for run in runs]
    return dict(zip(names, runs, strict=True))


def check_preprocess(checkpoint: Checkpoint, store: SliceStore) -> None:
    """Refuse to score a run on slices that were prepared in another way than those it learned from.

    Raises:
        CheckpointError: The settings differ; they are named.
    """
    differing = store.preprocess.differences(checkpoint.preprocess)
    if differing:
        msg = (
            f"{checkpoint.folder}: expected a store prepared like the training slices, got {store.folder} with other "
            f"settings ({', '.join(differing)}); prepare a store with the run's settings"
        )
        raise CheckpointError(msg)


def intensity_baseline() -> Contestant:
    """The untrained floor in every table."""
    return Contestant(
        "intensity", "intensity", frozenset(), partial(reconstruct_slices, Intensity(IntensitySettings()))
    )


def _contestant(name: str, checkpoint: Checkpoint) -> Contestant:
    subjects, prior = frozenset(checkpoint.record["subjects"]), HealthyPrior.load(checkpoint.folder)
    return Contestant(
        name, checkpoint.recipe.method_name, subjects, partial(reconstruct_slices, checkpoint.method), prior
    )
