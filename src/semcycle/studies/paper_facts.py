"""What a run of the paper's experiment did, and where it differs from the paper: the facts on its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from semcycle.store.split import Split
from semcycle.studies.data_sets import DataSet, describe_scale
from semcycle.studies.paper_split import describe_split
from semcycle.training.checkpoint import Checkpoint, load_checkpoint
from semcycle.training.slices import count_slices


def describe_experiment(
    training: DataSet,
    tests: Sequence[DataSet],
    runs: Mapping[str, Path],
    split: Split,
    settings: Mapping[str, Any],
    reasons: Mapping[str, str],
) -> dict[str, Any]:
    """Name -> text, number, list or mapping.

    Args:
        training: What the rows trained on.
        tests: BraTS first.
        runs: Row -> run folder.
        split: Of the BraTS cases.
        settings: Of the experiment.
        reasons: Row -> why it was not finished.
    """
    checkpoints = {name: load_checkpoint(folder) for name, folder in runs.items()}
    store = training.store
    return {
        "training set": f"{training.title}: {training.describe()}",
        "slices that train": {name: _count(training, checkpoint) for name, checkpoint in checkpoints.items()},
        "test sets": {data.title: data.describe() for data in tests},
        "tissue maps": {data.title: data.describe_tissue() for data in _once(training, tests)},
        "intensity scale": describe_scale(store.preprocess),
        "unlike the paper": _differences(training, tests, checkpoints, split, settings),
        "split": split.origin,
        "proportions": describe_split(tests[0].store, split),
        "training cases": list(training.cases),
        "test cases": {data.title: list(data.cases) for data in tests},
        "settings": dict(settings),
        "preparation": store.preprocess.model_dump(mode="json"),
        "not finished": dict(reasons) or "none",
    }


def _count(training: DataSet, checkpoint: Checkpoint) -> dict[str, Any]:
    record, slices = checkpoint.record, checkpoint.recipe.slices
    return {
        "slices": count_slices(training.store, record["train_cases"], slices),
        "cases": len(record["train_cases"]),
        "held-out cases": len(record["validation_cases"]),
        "slices with lesions": "dropped" if slices.lesions == "drop" else "train too, the losses leaving lesions out",
    }


def _differences(
    training: DataSet,
    tests: Sequence[DataSet],
    checkpoints: Mapping[str, Checkpoint],
    split: Split,
    settings: Mapping[str, Any],
) -> dict[str, str]:
    """What is known to differ from the paper's protocol."""
    differences = {}
    provider = training.describe_tissue()
    if not provider.startswith("spm"):
        differences["tissue maps"] = f"{provider.split(',')[0]}; the paper took SPM's"
    if settings["size"] != "paper":
        differences["sizes"] = "recipes for two CPU cores: smaller networks and batches, other step sizes"
    if training.name == "healthy":
        differences["training"] = "on healthy subjects; the paper trained on patients' slices without lesions"
    if describe_split(tests[0].store, split)[:11] != "the paper's":
        differences["cases"] = "not the 335 of BraTS 2019"
    if not any(data.beside == "ISLES 2015" for data in tests):
        named = ", ".join(data.title for data in tests[1:]) or "none"
        differences["second test set"] = f"{named}; the paper has ISLES 2015"
    differences["voxels"] = "brain and lesions; the code the paper builds on counts the background as well"
    if any(checkpoint.record["validation_cases"] for checkpoint in checkpoints.values()):
        differences["held-out cases"] = "some training cases only watched, see slices that train"
    return differences


def _once(training: DataSet, tests: Sequence[DataSet]) -> list[DataSet]:
    """The data sets, each store once."""
    stores = {data.store.folder: data for data in [training, *tests]}
    return list(stores.values())
