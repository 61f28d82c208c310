"""Accuracy and time of tissue maps: Dice against BrainWeb's truth, and against SPM's maps of BraTS cases.

    semcycle simulate brainweb DATA/brainweb --out BRAINWEB
    python benchmarks/tissue_accuracy.py --brainweb BRAINWEB --brats DATA/brats --spm DATA/brats-spm --out tissue.csv
    python benchmarks/tissue_accuracy.py --brainweb BRAINWEB --tissue spm --spm-dir SPM12 --out spm.csv
    python benchmarks/tissue_accuracy.py --brats DATA/brats --spm SPM12 --tissue atlas --out agreement.csv

The bundled model's S learned from 17 of the 20 BrainWeb models; the others are subject04, subject20 and subject54:

    semcycle simulate brainweb DATA/brainweb --vary --seed 1 --out VARIED
    python benchmarks/tissue_accuracy.py --brainweb VARIED --tissue model atlas-fast atlas
        --cases subject04 subject20 subject54 --out tissue-model.csv

``--spm`` takes a folder of SPM's maps, or SPM's own, which then makes them. Dice is of arg-max maps in the brain,
outside the expert's lesion; ``quality`` and ``reference_quality`` say what of the maps does not look like a brain's.
Seconds are CPU seconds of one thread; a model is loaded before.
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
from semcycle.tissue import tissue_provider
from semcycle.tissue.maps import ImportedMaps
from semcycle.tissue.plausibility import tissue_quality
from semcycle.types import TISSUES
from semcycle.volume import load_mask, load_volume


def measure(cohort: str, case: Case, references: Path | None, tissue: str, spm_dir: Path | None) -> dict[str, object]:
    """One row of the table."""
    volume = load_volume(case.images["t2"])
    brain = stripped_brain_mask(volume)
    lesion = load_mask(case.lesion, volume) if case.lesion else np.zeros(volume.shape, bool)
    runs_spm = references is not None and (references / "spm.m").is_file()
    source = tissue_provider("spm", references) if runs_spm else ImportedMaps(references)
    reference = source.maps(case, volume, brain, lesion).data
    provider = tissue_provider(tissue, spm_dir if tissue == "spm" else None)
    provider.describe()
    started = _cpu_seconds()
    maps = provider.maps(case, volume, brain, lesion).data
    seconds = _cpu_seconds() - started
    kept = brain & ~lesion
    ours, theirs = maps.argmax(axis=0)[kept], reference.argmax(axis=0)[kept]
    dice = [2 * ((ours == k) & (theirs == k)).sum() / ((ours == k).sum() + (theirs == k).sum()) for k in range(3)]
    row: dict[str, object] = {"cohort": cohort, "case": case.case_id, "tissue": tissue, "seconds": round(seconds, 1)}
    row |= {f"dice_{name}": round(float(value), 4) for name, value in zip(TISSUES, dice, strict=True)}
    row["dice"] = round(float(np.mean(dice)), 4)
    row |= {f"share_{name}": round(float(maps[k][kept].mean()), 3) for k, name in enumerate(TISSUES)}
    row |= {f"reference_{name}": round(float(reference[k][kept].mean()), 3) for k, name in enumerate(TISSUES)}
    for name, data in (("quality", maps), ("reference_quality", reference)):
        _, flags = tissue_quality(*(np.moveaxis(field, -1, 0) for field in (data, volume.data, brain, lesion)))
        row[name] = "; ".join(flags)
    print(" ".join(str(value) for value in row.values()), flush=True)
    return row


def _cpu_seconds() -> float:
    """Of this process and of those that it ran."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Measure every case with every provider and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brainweb", type=Path)
    parser.add_argument("--brats", type=Path)
    parser.add_argument("--spm", type=Path, help="folder of SPM's maps of --brats, or SPM's own, which makes them")
    parser.add_argument("--spm-dir", type=Path, help="SPM's folder, for --tissue spm")
    parser.add_argument("--tissue", nargs="+", default=["atlas", "atlas-fast"])
    parser.add_argument("--cases", nargs="+", help="instead of all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    jobs = []
    for name, root, maps in (("brainweb", options.brainweb, None), ("brats", options.brats, options.spm)):
        if root:
            cases = get_cohort(name).find_cases(root).cases
            cases = [case for case in cases if not options.cases or case.case_id in options.cases]
            jobs += [(name, case, maps, tissue, options.spm_dir) for tissue in options.tissue for case in cases]
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:
        rows = list(pool.map(measure, *zip(*jobs, strict=True)))
    table = pd.DataFrame(rows)
    table.to_csv(options.out, index=False)
    print(
        table.groupby(["cohort", "tissue"])[["dice_gm", "dice_wm", "dice_csf", "dice", "seconds"]].agg(
            ["mean", "min", "max"]
        )
    )


if __name__ == "__main__":
    main()
