"""Phantom: made-up T2 scans of healthy brains and of brains with lesions, for the demo, the docs and the tests.

Brains with real cortical folding (the MNI152 templates under random diffeomorphisms), each with its own tissue
contrast, texture, bias field, Rician noise and scanner gain, written as skull-stripped NIfTI in the ``manifest``
layout with their true tissue maps and lesion masks.

**Licence**: generated; the templates may be used, changed and passed on with their notice, see [fonov2009].

**Reference**: [fonov2009] for the templates.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from semcycle.cohorts.base import Case, Listing
from semcycle.cohorts.manifest import Manifest, write_manifest
from semcycle.errors import WorkerError
from semcycle.processes import map_jobs
from semcycle.types import TISSUES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from semcycle.cohorts.simulated.anatomy import Anatomy
    from semcycle.cohorts.simulated.lesions import Lesion

KINDS = ("tumour", "stroke", "ms")


class Phantom:
    """The ``manifest`` layout, as :func:`write_cohort` leaves it."""

    title = "phantoms made of the MNI152 templates (healthy, tumour, stroke, ms)"
    slices = None

    def find_cases(self, root: Path) -> Listing:
        """List the phantoms below ``root``; raises as the manifest cohort does."""
        return Manifest().find_cases(root)

    def write_example(self, root: Path, *, cases: int = 2, seed: int = 0) -> None:
        """Write coarse phantoms (6 mm), the last of them with a tumour."""
        write_cohort(root, healthy=cases - 1, lesions=1, spacing=6, seed=seed)


def write_cohort(
    root: Path,
    *,
    healthy: int = 12,
    lesions: int = 6,
    spacing: int = 2,
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[str], None] = lambda case_id: None,
) -> list[Case]:
    """Make phantoms and write them with ``manifest.csv``, which appears last.

    Args:
        root: Folder for the cohort.
        healthy: Phantoms without a lesion; ``group`` is ``healthy``.
        lesions: Phantoms with one: tumour, stroke and MS in turn; ``group`` says which.
        spacing: Voxel size in whole mm.
        seed: Same seed, same bytes, however many workers; every phantom has its own stream.
        workers: Processes.
        progress: Called with the id of every finished phantom.
    """
    groups = ["healthy"] * healthy + [KINDS[number % len(KINDS)] for number in range(lesions)]
    jobs = [(f"phantom{number:02d}_{group}", group, [seed, number]) for number, group in enumerate(groups)]
    cases = dict[str, Case]()
    for (case_id, *_), outcome in map_jobs(_write_phantom, (root, spacing), jobs, workers):
        if isinstance(outcome, WorkerError):
            raise outcome
        cases[case_id] = outcome
        progress(case_id)
    in_order = [cases[case_id] for case_id, *_ in jobs]
    write_manifest(root, in_order)
    return in_order


def _write_phantom(common: tuple[Path, int], job: tuple[str, str, list[int]]) -> Case:
    root, spacing = common
    case_id, group, seed = job
    import numpy as np

    from semcycle.cohorts.simulated.anatomy import random_anatomy
    from semcycle.cohorts.simulated.lesions import LESIONS
    from semcycle.volume import save_volume

    generator = np.random.default_rng(seed)
    anatomy = random_anatomy(spacing, generator)
    lesion = LESIONS[group](anatomy, generator) if group in LESIONS else None
    image = make_t2(anatomy, lesion, generator)
    paths = {name: root / case_id / f"{case_id}_{name}.nii.gz" for name in ("t2", "lesion", *TISSUES)}
    save_volume(paths["t2"], image, anatomy.affine)
    for name, tissue in zip(TISSUES, anatomy.tissue, strict=True):
        save_volume(paths[name], np.rint(tissue * 255).astype(np.uint8), anatomy.affine, slope=1 / 255)
    mask = None
    if lesion is not None:
        mask = paths["lesion"]
        save_volume(mask, (lesion.fraction > 0.5) & anatomy.brain, anatomy.affine)
    return Case(case_id, case_id, {"t2": paths["t2"]}, mask, None, {name: paths[name] for name in TISSUES}, group)


def make_t2(anatomy: Anatomy, lesion: Lesion | None, generator: np.random.Generator) -> NDArray[np.int16]:
    """A T2-weighted image of an anatomy, ``(I, J, K)`` int16, exactly 0 outside the brain.

    Tissue levels over the brain's median follow real T2 scans (GM 1.0-1.07, WM 0.8-0.9, CSF 1.4-1.7); texture
    varies by a few percent within tissue, the bias field by 10 %, noise is Rician with 2-3 % of WM, and the gain
    spans two orders of magnitude.
    """
    import numpy as np
    from scipy import ndimage

    shape, spacing = anatomy.brain.shape, float(np.linalg.norm(anatomy.affine[:3, 0]))

    def field(sigma_mm: float) -> NDArray[np.float64]:
        noise = ndimage.gaussian_filter(generator.normal(size=shape), sigma_mm / spacing)
        return np.asarray(noise / max(float(noise.std()), 1e-9))

    levels = np.array([0.50, 0.41, 0.80]) * generator.normal(1, [0.02, 0.02, 0.05])
    gm, wm, csf = levels
    texture = 1 + 0.02 * field(6) + 0.015 * field(3)
    signal = np.einsum("a,aijk->ijk", levels, anatomy.tissue) * texture
    if lesion is not None:
        bright = (gm + lesion.level * (csf - gm)) * (1 + 0.04 * field(3))
        signal = signal * (1 - lesion.fraction) + bright * lesion.fraction
    signal *= np.exp(0.05 * field(45))
    sigma = wm * generator.uniform(0.02, 0.03)
    signal = np.hypot(signal + generator.normal(0, sigma, shape), generator.normal(0, sigma, shape))
    gain = np.exp(generator.uniform(np.log(300), np.log(25_000)))
    return np.where(anatomy.brain, np.clip(signal * gain, 1, 32_767), 0).astype(np.int16)
