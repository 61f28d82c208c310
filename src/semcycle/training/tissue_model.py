"""Tissue provider ``model``: S of a trained cycle maps the scan, in a second or two instead of half a minute.

It stands here and not beside the other providers because it needs a trained network; the registry
:mod:`semcycle.tissue` names it as text.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from semcycle.cohorts.base import Case
from semcycle.errors import TissueError
from semcycle.files import file_hash
from semcycle.methods.cycle import Cycle
from semcycle.preprocess.pipeline import preprocess
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.training.checkpoint import Checkpoint, load_checkpoint
from semcycle.training.shipped import DEFAULT, WEIGHTS, find_model
from semcycle.types import VoxelMask
from semcycle.volume import Volume

BATCH_SLICES = 16
"""Slices that S maps at a time."""


@dataclass(frozen=True)
class SegmenterTissue:
    """Tissue maps S(x) of a model.

    They are as fine as the model's slices (1.875 mm for the bundled ones) and made by one thread, so that the number
    of threads changes no digit. S sees known lesions and is not told of them.

    Attributes:
        folder: Of the model.
    """

    folder: Path

    def maps(self, case: Case, volume: Volume, brain: VoxelMask, lesion: VoxelMask) -> TissueMaps:
        """Tissue maps of a scan.

        Raises:
            TissueError: S did not find three tissues.
        """
        checkpoint = _open_cycle(self.folder)
        prepared = preprocess(volume, checkpoint.preprocess, brain)
        y = np.zeros((3, *prepared.image.shape), np.float32)
        shown = np.flatnonzero(prepared.brain.any(axis=(1, 2)))
        with torch.no_grad(), _one_thread():
            for start in range(0, len(shown), BATCH_SLICES):
                part = shown[start : start + BATCH_SLICES]
                x, mask = (
                    torch.from_numpy(data[part, None].astype(np.float32)) for data in (prepared.image, prepared.brain)
                )
                y[:, part] = _cycle(checkpoint).segment(x, mask).transpose(0, 1).numpy()
        gm, wm, csf = (prepared.to_native(tissue) for tissue in y)
        return make_tissue_maps(gm, wm, csf, f"{volume.source} (model {checkpoint.recipe.name})")

    def describe(self) -> dict[str, str]:
        """Provider, model, and the hash of its weights.

        Raises:
            CheckpointError: The folder holds no finished run.
            TissueError: Its method has no S.
        """
        weights = file_hash(self.folder / WEIGHTS) if (self.folder / WEIGHTS).is_file() else ""
        return {"provider": "model", "model": _open_cycle(self.folder).recipe.name, "weights": weights}

    def files(self, case: Case) -> list[Path]:
        """None: the maps depend on the scan, and on the model that the description names."""
        return []


def bundled_segmenter(folder: Path | None) -> SegmenterTissue:
    """The provider ``model``: S of the bundled model, or of the run in the folder."""
    return SegmenterTissue(folder or find_model(DEFAULT))


@lru_cache(maxsize=2)
def _open_cycle(folder: Path) -> Checkpoint:
    checkpoint = load_checkpoint(folder)
    _cycle(checkpoint)
    return checkpoint


def _cycle(checkpoint: Checkpoint) -> Cycle:
    """The cycle of a method that is one, or stands on one."""
    cycle = getattr(checkpoint.method, "cycle", checkpoint.method)
    if not isinstance(cycle, Cycle):
        msg = (
            f"{checkpoint.folder}: expected a run of method cycle or refine, whose S maps tissue, got one of "
            f"{checkpoint.recipe.method_name}; choose another --tissue-dir"
        )
        raise TissueError(msg)
    return cycle


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
