"""BrainWeb: T2 scans simulated from the 20 normal anatomical models, with their exact tissue maps.

The models are label volumes of 0.5 mm (``subject04_crisp_v.mnc.gz`` ...). :func:`simulate` makes scans of them by the
spin-echo equation, at 1 mm with true partial volume, and leaves a folder in the ``manifest`` layout; that folder is the
cohort (``semcycle simulate brainweb MODELS --out ROOT``, then ``semcycle prepare brainweb ROOT``)::

    <root>/manifest.csv
    <root>/subject04/subject04_{t2,gm,wm,csf,brain}.nii.gz

**Licence**: free with citation.

**Reference**: [cocosco1997], [aubertbroche2006a], and [aubertbroche2006b] for the 20 anatomies.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from semcycle.cohorts.base import Case, Listing
from semcycle.cohorts.manifest import MANIFEST_CSV, Manifest, write_manifest
from semcycle.config import Config
from semcycle.errors import LayoutError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semcycle.volume import Volume

CSF, GM, WM = 1, 2, 3
TISSUE_MS = {
    # label: proton density, T1 ms, T2 ms at 1.5 T: BrainWeb's table for CSF, GM, WM, fat, muscle and connective tissue;
    # skin, skull, vessels, dura and marrow are choices of this project
    0: (0.0, 1.0, 1.0),
    CSF: (1.0, 2569.0, 329.0),
    GM: (0.86, 833.0, 83.0),
    WM: (0.77, 500.0, 70.0),
    4: (1.0, 350.0, 70.0),  # fat
    5: (1.0, 900.0, 47.0),  # muscle
    6: (1.0, 900.0, 47.0),  # muscle and skin
    7: (0.0, 1.0, 1.0),  # skull
    8: (0.0, 1.0, 1.0),  # vessels: flow void
    9: (0.77, 500.0, 70.0),  # connective tissue round fat
    10: (0.77, 500.0, 70.0),  # dura
    11: (1.0, 350.0, 70.0),  # marrow
}


class Acquisition(Config):
    """How the models are scanned."""

    tr: float = Field(3300.0, gt=0)
    """Repetition time in ms."""
    te: float = Field(120.0, gt=0)
    """Echo time in ms."""
    noise: float = Field(0.03, ge=0, le=0.5)
    """Rician noise, as a share of the brightest tissue's signal."""
    bias: float = Field(0.2, ge=0, le=1)
    """Bias field, peak to peak: 0.2 runs from 0.9 to 1.1 in the head."""
    factor: int = Field(2, ge=1, le=12)
    """Model voxels (0.5 mm) that a scan voxel averages along each axis."""
    skull: bool = False
    """Whether the head is kept, with the brain mask beside it."""
    vary: bool = False
    """Every scan of another scanner: TR from 2500 to 6000 ms, TE from 75 to 130 ms, noise from 0.01 to 0.06 and bias
    from 0 to 0.4 are drawn anew for each and take the place of the values above."""


class BrainWeb:
    """The ``manifest`` layout, as :func:`simulate` leaves it."""

    title = "T2 simulated from BrainWeb's 20 anatomical models (healthy)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the simulated scans below ``root``.

        Raises:
            LayoutError: ``root`` holds the models themselves, or no manifest.
        """
        if root.is_dir() and not (root / MANIFEST_CSV).is_file() and find_models(root):
            msg = (
                f"{root}: expected scans, got BrainWeb's models; first run `semcycle simulate brainweb {root} --out "
                "ROOT`"
            )
            raise LayoutError(msg)
        return Manifest().find_cases(root)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write scans of balls of tissue at 6 mm."""
        import numpy as np

        from semcycle.volume import make_volume

        scans = []
        for number in range(cases):
            grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (64, 72, 40)], indexing="ij"))
            radius = np.sqrt((grid**2).sum(0)) / (0.8 + 0.02 * number)
            labels = np.select([radius < 0.55, radius < 0.88, radius < 1], [WM, GM, CSF], 0)
            affine = np.diag([3.0, 3.0, 3.0, 1.0])
            model = make_volume(labels, affine)
            scans.append(_write_scan(root, f"subject{number:02d}", model, Acquisition(), [seed, number]))
        write_manifest(root, scans)


def find_models(folder: Path) -> list[Path]:
    """BrainWeb's label volumes in a folder."""
    return sorted(folder.glob("subject*_crisp_v.mnc*"))


def simulate(
    models: Path,
    root: Path,
    acquisition: Acquisition | None = None,
    *,
    seed: int = 0,
    progress: Callable[[str], None] = lambda case_id: None,
) -> list[Case]:
    """Scan every model in a folder and write the cohort; the manifest appears last.

    Args:
        models: Folder of the label volumes.
        root: Folder for the cohort.
        acquisition: How.
        seed: Of noise and bias fields; every subject has its own.
        progress: Called with every finished case.

    Raises:
        LayoutError: The folder has no models.
    """
    from semcycle.volume import load_volume

    paths = find_models(models)
    if not paths:
        msg = f"{models}: expected BrainWeb models (subject04_crisp_v.mnc.gz ...), found none; download them there"
        raise LayoutError(msg)
    cases = []
    for number, path in enumerate(paths):
        name = path.name.split("_")[0]
        cases.append(_write_scan(root, name, load_volume(path), acquisition or Acquisition(), [seed, number]))
        progress(name)
    write_manifest(root, cases)
    return cases


def _write_scan(root: Path, name: str, model: Volume, how: Acquisition, seed: list[int]) -> Case:
    import numpy as np

    from semcycle.volume import save_volume

    generator = np.random.default_rng(seed)
    scan, tissue, brain, affine = make_scan(model, _draw(how, generator) if how.vary else how, generator)
    paths = {what: root / name / f"{name}_{what}.nii.gz" for what in ("t2", "gm", "wm", "csf", "brain")}
    save_volume(paths["t2"], scan, affine)
    save_volume(paths["brain"], brain, affine)
    for what, fraction in zip(("gm", "wm", "csf"), tissue, strict=True):
        save_volume(paths[what], np.rint(fraction * 255).astype(np.uint8), affine, slope=1 / 255)
    maps = {what: paths[what] for what in ("gm", "wm", "csf")}
    return Case(name, name, {"t2": paths["t2"]}, None, paths["brain"] if how.skull else None, maps)


def _draw(how: Acquisition, generator: np.random.Generator) -> Acquisition:
    drawn = {"tr": (2500, 6000), "te": (75, 130), "noise": (0.01, 0.06), "bias": (0.0, 0.4)}
    return how.model_copy(update={name: float(generator.uniform(*bounds)) for name, bounds in drawn.items()})


def make_scan(
    model: Volume, how: Acquisition, generator: np.random.Generator
) -> tuple[NDArray[np.int16], NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    """Simulate a T2 scan of a label volume.

    The signal of a tissue is PD (1 - exp(-TR/T1)) exp(-TE/T2); voxels average their labels' signals, the bias field
    multiplies, and noise is added to both channels before the magnitude is taken.

    Returns:
        ``(I, J, K)`` scan with axes RAS+, ``(3, I, J, K)`` GM, WM, CSF fractions, ``(I, J, K)`` brain, affine.
    """
    import numpy as np
    from scipy import ndimage

    from semcycle.volume import to_ras

    labels = to_ras(model.data, model.affine).astype(np.uint8)
    labels = labels[tuple(slice(0, size - size % how.factor) for size in labels.shape)]

    def shrink(values: NDArray[np.float32]) -> NDArray[np.float32]:
        i, j, k = (size // how.factor for size in values.shape)
        parts = values.reshape(i, how.factor, j, how.factor, k, how.factor)
        return np.asarray(parts.mean(axis=(1, 3, 5), dtype=np.float32))

    table = np.array([pd * (1 - np.exp(-how.tr / t1)) * np.exp(-how.te / t2) for pd, t1, t2 in TISSUE_MS.values()])
    tissue = np.stack([shrink((labels == label).astype(np.float32)) for label in (GM, WM, CSF)])
    brain = tissue.sum(axis=0) > 0.5
    if how.skull:
        signal = shrink(table.astype(np.float32)[labels])
    else:
        signal = np.einsum("a,aijk->ijk", table[[GM, WM, CSF]].astype(np.float32), tissue) * brain
        tissue = tissue * brain
    smooth = ndimage.gaussian_filter(generator.normal(size=tuple(max(size // 8, 4) for size in signal.shape)), 4)
    zoom = [new / old for new, old in zip(signal.shape, smooth.shape, strict=True)]
    field = ndimage.zoom(smooth, zoom, order=1)[tuple(slice(size) for size in signal.shape)]
    inside = field[signal > 0]
    field = 1 + how.bias * ((field - inside.min()) / np.ptp(inside) - 0.5)
    sigma = how.noise * float(signal.max())
    real, imaginary = (generator.normal(0, sigma, signal.shape) for _ in range(2))
    scan = np.hypot(signal * field + real, imaginary) * (2000 / float(signal.max()))
    if not how.skull:
        scan = np.where(brain, np.maximum(scan, 1), 0)
    spacing = np.linalg.norm(model.affine[:3, :3], axis=0).mean() * how.factor
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(signal.shape) - 1) / 2
    return scan.astype(np.int16), tissue.astype(np.float32), brain, affine
