"""Accuracy and time of the `atlas` and `spm` tissue maps: Dice against BrainWeb's truth, and maps of BraTS cases.

semcycle simulate brainweb DATA/brainweb --out BRAINWEB
python benchmarks/tissue_accuracy.py --brainweb BRAINWEB --brats DATA/brats --spm DATA/brats-spm --out tissue.csv
python benchmarks/tissue_accuracy.py --brainweb BRAINWEB --modes spm --spm-dir SPM12 --out spm.csv

Dice is of arg-max maps in the brain, outside the expert's lesion. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from semcycle.cohorts import Case, get_cohort
from semcycle.preprocess.brain_mask import stripped_brain_mask
from semcycle.tissue.atlas import segment
from semcycle.tissue.base import TissueMaps
from semcycle.tissue.maps import ImportedMaps
from semcycle.tissue.spm import find_spm
from semcycle.types import TISSUES, VoxelArray
from semcycle.volume import Volume, load_mask, load_volume, ras_spacing, to_ras


def measure(cohort: str, case: Case, references: Path | None, mode: str, spm_dir: Path | None) -> dict[str, object]:
    """One row of the table."""
    volume = load_volume(case.images["t2"])
    brain = stripped_brain_mask(volume)
    lesion = load_mask(case.lesion, volume) if case.lesion else np.zeros(volume.shape, bool)
    reference = _stack_ras(ImportedMaps(references).maps(case, volume, brain, lesion), volume)
    started = _cpu_seconds()
    if mode == "spm":
        maps = _stack_ras(find_spm(spm_dir).maps(case, volume, brain, lesion), volume)
    data, brain, lesion = (to_ras(array, volume.affine) for array in (volume.data, brain, lesion))
    if mode != "spm":
        maps, _ = segment(data, ras_spacing(volume.affine), brain, lesion, mode=mode)
    seconds = _cpu_seconds() - started
    kept = brain & ~lesion
    ours, theirs = maps.argmax(axis=0)[kept], reference.argmax(axis=0)[kept]
    dice = [2 * ((ours == k) & (theirs == k)).sum() / ((ours == k).sum() + (theirs == k).sum()) for k in range(3)]
    row: dict[str, object] = {"cohort": cohort, "case": case.case_id, "mode": mode, "seconds": round(seconds, 1)}
    row |= {f"dice_{name}": round(float(value), 4) for name, value in zip(TISSUES, dice, strict=True)}
    row["dice"] = round(float(np.mean(dice)), 4)
    row |= {f"share_{name}": round(float(maps[k][kept].mean()), 3) for k, name in enumerate(TISSUES)}
    row |= {f"reference_{name}": round(float(reference[k][kept].mean()), 3) for k, name in enumerate(TISSUES)}
    print(" ".join(str(value) for value in row.values()), flush=True)
    return row


def _stack_ras(maps: TissueMaps, volume: Volume) -> VoxelArray:
    return np.stack([to_ras(tissue, volume.affine) for tissue in maps.data])


def _cpu_seconds() -> float:
    """Of this process and of those that it ran."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Measure every case in both modes and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brainweb", type=Path)
    parser.add_argument("--brats", type=Path)
    parser.add_argument("--spm", type=Path)
    parser.add_argument("--spm-dir", type=Path, help="SPM's folder, for --modes spm")
    parser.add_argument("--modes", nargs="+", default=["full", "fast"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    jobs = []
    for name, root, maps in (("brainweb", options.brainweb, None), ("brats", options.brats, options.spm)):
        if root:
            cases = get_cohort(name).find_cases(root).cases
            jobs += [(name, case, maps, mode, options.spm_dir) for mode in options.modes for case in cases]
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        rows = list(pool.map(measure, *zip(*jobs, strict=True)))
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    print(
        table.groupby(["cohort", "mode"])[["dice_gm", "dice_wm", "dice_csf", "dice", "seconds"]].agg(
            ["mean", "min", "max"]
        )
    )


if __name__ == "__main__":
    main()
