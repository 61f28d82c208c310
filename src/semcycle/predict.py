"""Prediction: a scan in, its anomaly map, tissue maps and healthy reconstruction out, on the scan's own grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from semcycle import __version__
from semcycle.checkpoint import Checkpoint
from semcycle.errors import Failure, SemcycleError, VolumeError
from semcycle.files import file_hash, write_failures, write_json
from semcycle.methods.base import Method
from semcycle.preprocess.pipeline import Prepared, preprocess
from semcycle.scoring.anomaly_map import Reconstructed
from semcycle.scoring.postprocess import make_anomaly_map
from semcycle.types import SliceArray, SliceMask, TissueSlices, VoxelArray, VoxelMask
from semcycle.volume import Volume, is_scan, load_volume, save_volume, scan_name

OUTPUTS = ("_anomaly", "_reconstruction", "_tissue")
"""What :func:`predict_files` appends to a scan's name; such files are never taken for scans."""


@dataclass(frozen=True)
class Prediction:
    """What a model makes of one scan.

    Attributes:
        volume: The scan.
        prepared: The scan on the working grid, and the way back.
        scores: ``(S, H, W)`` anomaly scores in [0, 1] on the working grid.
        reconstruction: ``(S, H, W)`` healthy reconstruction in [0, 1] on the working grid.
        tissue: ``(S, 3, H, W)`` GM, WM, CSF, or ``None`` for a method without.
    """

    volume: Volume
    prepared: Prepared
    scores: SliceArray
    reconstruction: SliceArray
    tissue: TissueSlices | None

    def anomaly_native(self) -> VoxelArray:
        """``(I, J, K)`` anomaly scores in [0, 1], 0 outside the brain."""
        return self.prepared.to_native(self.scores)

    def reconstruction_native(self) -> VoxelArray:
        """``(I, J, K)`` reconstruction in the scan's own intensity units, background outside the brain."""
        return self.prepared.to_scanner(self.reconstruction)

    def tissue_native(self) -> NDArray[np.float32] | None:
        """``(I, J, K, 3)`` GM, WM, CSF in [0, 1], 0 outside the brain."""
        if self.tissue is None:
            return None
        return np.stack([self.prepared.to_native(self.tissue[:, index]) for index in range(3)], axis=-1)


def reconstruct_slices(method: Method[Any], x: SliceArray, brain: SliceMask, batch_size: int = 32) -> Reconstructed:
    """Run a method over slices.

    Args:
        method: In any mode, on any device.
        x: ``(S, H, W)`` in [0, 1].
        brain: ``(S, H, W)``; slices without brain are not run and come back as 0.
        batch_size: Slices at a time.

    Returns:
        Reconstruction, and tissue maps and a score of its own where the method has them.
    """
    device = next((parameter.device for parameter in method.parameters()), torch.device("cpu"))
    image = np.zeros(x.shape, np.float32)
    tissue: NDArray[np.float32] | None = None
    score: NDArray[np.float32] | None = None
    shown = np.flatnonzero(brain.any(axis=(1, 2)))
    for start in range(0, len(shown), batch_size):
        part = shown[start : start + batch_size]
        images = torch.from_numpy(np.ascontiguousarray(x[part, None], np.float32)).to(device)
        masks = torch.from_numpy(brain[part, None].astype(np.float32)).to(device)
        made = method.reconstruct(images, masks)
        image[part] = made.image[:, 0].float().cpu().numpy()
        if made.tissue is not None:
            if tissue is None:
                tissue = np.zeros((len(x), 3, *x.shape[1:]), np.float32)
            tissue[part] = made.tissue.float().cpu().numpy()
        if made.score is not None:
            if score is None:
                score = np.zeros(x.shape, np.float32)
            score[part] = made.score[:, 0].float().clamp(0, 1).cpu().numpy()
    return Reconstructed(image, tissue, score)


def predict_volume(
    checkpoint: Checkpoint, volume: Volume, brain: VoxelMask | None = None, *, preset: str = "literal"
) -> Prediction:
    """Find anomalies in one scan.

    Args:
        checkpoint: A trained run.
        volume: The scan.
        brain: ``(I, J, K)`` brain mask; found where it is not given.
        preset: Post-processing of the residual.

    Raises:
        BrainMaskError: No brain, or skull and no mask.
        GeometryError: The brain does not fit the working window.
    """
    prepared = preprocess(volume, checkpoint.preprocess, brain)
    made = reconstruct_slices(checkpoint.method, prepared.image, prepared.brain)
    mapped = make_anomaly_map(prepared.image, made, prepared.brain, preset, checkpoint.preprocess.pixel_mm)
    return Prediction(volume, prepared, mapped.scores, made.image, made.tissue)


def find_scans(path: Path, pattern: str = "*") -> dict[str, Path]:
    """Scans by the name their outputs get.

    Args:
        path: A scan, or a folder that is searched with its subfolders.
        pattern: File names to take from a folder, such as ``*_t2.nii.gz``.

    Returns:
        Name -> file, sorted; where two files of a folder have the same name, their subfolder's stands in front.

    Raises:
        VolumeError: Nothing is there.
    """
    if path.is_file():
        return {scan_name(path): path}
    found = sorted(
        file
        for file in path.rglob(pattern)
        if file.is_file() and is_scan(file) and not scan_name(file).endswith(OUTPUTS)
    )
    if not found:
        msg = f"{path}: expected a scan or a folder with scans that match {pattern!r}, found none"
        raise VolumeError(msg)
    names = [scan_name(file) for file in found]
    if len(set(names)) < len(names):
        names = ["_".join([*file.relative_to(path).parts[:-1], scan_name(file)]) for file in found]
    return dict(zip(names, found, strict=True))


def find_mask(given: Path, volume: Volume) -> Path:
    """The brain mask of a scan: the given file, or the one in the given folder whose name begins with the scan's.

    Raises:
        VolumeError: The folder has none, or several.
    """
    if not given.is_dir():
        return given
    scan = Path(volume.source)
    found = [
        file for file in sorted(given.glob(f"{scan_name(scan)}*")) if is_scan(file) and file.resolve() != scan.resolve()
    ]
    found = [file for file in found if not scan_name(file).endswith(OUTPUTS)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        msg = f"{given}: expected one brain mask {scan_name(scan)}*.nii.gz for {scan.name}, found {names}"
        raise VolumeError(msg)
    return found[0]


def predict_files(
    scans: dict[str, Path],
    checkpoint: Checkpoint,
    out: Path,
    *,
    preset: str = "literal",
    load_brain: Callable[[Volume], VoxelMask | None] = lambda volume: None,
    draw: Callable[[Prediction, Path], None] | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> list[Failure]:
    """Predict scan files and write NIfTI on their grids.

    For every scan: ``<name>_anomaly.nii.gz``, ``_reconstruction.nii.gz``, ``_tissue.nii.gz`` (uint8, scaled to
    [0, 1]), what ``draw`` adds, and an entry in ``run.json``.

    Args:
        scans: Name -> file.
        checkpoint: A trained run.
        out: Folder for the outputs.
        preset: Post-processing of the residual.
        load_brain: Brain mask of a scan, or ``None`` for a skull-stripped one.
        draw: Called with every prediction and the path of its overview picture.
        progress: Called with every finished scan's name.

    Returns:
        Scans that failed, also in ``failures.csv``; the others are done.
    """
    failures, entries = [], []
    for name, path in scans.items():
        started = time.perf_counter()
        try:
            volume = load_volume(path)
            prediction = predict_volume(checkpoint, volume, load_brain(volume), preset=preset)
            written = _write(prediction, out, name)
            if draw:
                draw(prediction, out / f"{name}_overview.png")
                written.append(f"{name}_overview.png")
            entries.append(_describe(prediction, path, written, time.perf_counter() - started))
        except SemcycleError as error:
            failures.append(Failure(name, str(error)))
        if entries:
            write_json(out / "run.json", _run_record(checkpoint, preset, entries))
        progress(name)
    if entries or out.is_dir():
        write_failures(out / "failures.csv", failures)
    return failures


def _write(prediction: Prediction, out: Path, name: str) -> list[str]:
    volume, text = prediction.volume, f"semcycle {__version__} "
    files: dict[str, NDArray[Any]] = {
        f"{name}_anomaly.nii.gz": prediction.anomaly_native(),
        f"{name}_reconstruction.nii.gz": prediction.reconstruction_native(),
    }
    for file, data in files.items():
        save_volume(out / file, data, volume, description=text + file.rsplit("_", 1)[1].split(".")[0])
    tissue = prediction.tissue_native()
    if tissue is not None:
        file = f"{name}_tissue.nii.gz"
        save_volume(
            out / file, np.rint(tissue * 255).astype(np.uint8), volume, description=text + "GM WM CSF", slope=1 / 255
        )
        return [*files, file]
    return list(files)


def _describe(prediction: Prediction, path: Path, written: Sequence[str], seconds: float) -> dict[str, Any]:
    brain, scores = prediction.prepared.brain, prediction.scores
    return {
        "scan": path.name,
        "sha256": file_hash(path),
        "shape": list(prediction.volume.shape),
        "spacing_mm": [round(step, 4) for step in prediction.volume.spacing],
        "warnings": [*prediction.volume.warnings, *prediction.prepared.record.brain.warnings],
        "mean_score": round(float(scores[brain].mean()), 5),
        "score_percentiles": {
            str(percent): round(float(np.percentile(scores[brain], percent)), 5) for percent in (50, 95, 99, 99.9)
        },
        "preprocess": prediction.prepared.record.to_json(),
        "files": list(written),
        "seconds": round(seconds, 2),
    }


def _run_record(checkpoint: Checkpoint, preset: str, entries: Iterable[dict[str, Any]]) -> dict[str, Any]:
    return {
        "semcycle": __version__,
        "model": {
            "name": checkpoint.recipe.name,
            "method": checkpoint.recipe.method_name,
            "fingerprint": checkpoint.record["fingerprint"],
        },
        "preset": preset,
        "scores": "anomaly score in [0, 1]: difference to the healthy reconstruction in units of the intensity scale",
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
        "scans": list(entries),
    }
