"""The Python interface: ``semcycle.predict(scan)`` is all a script needs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from semcycle.errors import VolumeError
from semcycle.prediction.dicom_scan import load_series
from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.training.calibration import find_threshold
from semcycle.training.checkpoint import Checkpoint
from semcycle.training.engines import AUTO, use_engine
from semcycle.training.models import open_model
from semcycle.training.shipped import DEFAULT
from semcycle.volume import Volume, from_nibabel, labels_inside, load_mask, load_volume
from semcycle.volume.dicom import holds_dicom, is_dicom


def predict(
    scan: Any,
    *,
    model: str | Path = DEFAULT,
    series: str = "",
    brain_mask: Any = None,
    threshold: str | float | None = "auto",
    preset: str | None = None,
    tta: bool = False,
    device: str = "cpu",
    engine: str = AUTO,
) -> Prediction:
    """Find anomalies in a T2 scan of the head.

    Args:
        scan: Path of a NIfTI (MGH, MINC) file, a ``nibabel`` image, or the path of a DICOM folder, a series or a whole
            study; any orientation and voxel size, with or without skull.
        model: A bundled model's name, a run folder, or ``intensity``, see :func:`semcycle.training.models.open_model`.
        series: Which series of a DICOM study, such as ``"5"``, where several or none look T2 weighted; which one was
            taken, and why, is said in ``volume.source`` of the prediction.
        brain_mask: Path, ``nibabel`` image or array ``(I, J, K)`` on the scan's grid; found where it is not given.
        threshold: ``"fpr=0.01"``, a score in [0, 1], ``None`` for no mask; ``"auto"`` is the model's 1 % threshold.
        preset: Post-processing; the model's own without.
        tta: Mean with the mirrored scan.
        device: Where the networks run.
        engine: What computes them: ``torch``, ``bfloat16``, ``onnx`` or ``openvino``, see
            :mod:`semcycle.training.engines`; ``auto`` is ``bfloat16`` where the processor has units for it, and else
            ``torch``.

    Returns:
        Prediction with arrays on the scan's grid (``anomaly_native()``, ``mask_native()``, ``reconstruction_native()``,
        ``tissue_native()``), ``components()``, and the same as images (``to_nibabel("mask")``).

    Raises:
        SemcycleError: The scan, the mask, the model or the threshold is unusable; the message says what to do.

    Example:
        >>> import semcycle
        >>> found = semcycle.predict("scan_t2.nii.gz")  # doctest: +SKIP
        >>> found.components().total_ml  # doctest: +SKIP
    """
    checkpoint = _open(str(model), device, engine)
    volume = _read(Path(scan), series) if isinstance(scan, str | Path) else from_nibabel(scan)
    brain = None
    if isinstance(brain_mask, str | Path):
        brain = load_mask(Path(brain_mask), volume, "brain mask")
    elif brain_mask is not None:
        brain = labels_inside(from_nibabel(brain_mask, volume).data, "brain_mask", "brain mask")
    text = "none" if threshold is None else str(threshold)
    cut = find_threshold(text, checkpoint.calibration, preset or checkpoint.preset, str(model))
    return predict_volume(checkpoint, volume, brain, preset=preset, threshold=cut, tta=tta)


def _read(path: Path, series: str) -> Volume:
    if not series and not path.is_dir() and not is_dicom(path):
        return load_volume(path)
    if path.is_dir() and not holds_dicom(path):
        msg = f"{path}: expected the path of one scan or a folder of DICOM files, got a folder without; give a file of "
        msg += "it, or use `semcycle predict FOLDER` for all its scans"
        raise VolumeError(msg)
    return load_series(path, series)


@lru_cache(maxsize=4)
def _open(model: str, device: str, engine: str) -> Checkpoint:
    return use_engine(open_model(model, device), engine)
