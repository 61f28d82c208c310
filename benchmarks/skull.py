"""Skull stripping: Dice, sensitivity, volume and time of HD-BET and BET on simulated BrainWeb heads.

    semcycle simulate brainweb DATA/brainweb --skull --out HEADS
    python benchmarks/skull.py HEADS --cases subject04 subject20 subject38 subject54 --out skull.csv

The truth is GM, WM and CSF of the models, CSF around the brain included. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from semcycle.cohorts import Case, get_cohort
from semcycle.preprocess.skull import strip_skull
from semcycle.volume import load_mask, load_volume


def measure(case: Case, how: str) -> dict[str, object]:
    """One row of the table."""
    volume = load_volume(case.images["t2"])
    truth = load_mask(case.brain_mask, volume)
    started = time.process_time()
    mask, method = strip_skull(volume, how)
    seconds = time.process_time() - started
    both = np.count_nonzero(mask & truth)
    row = {
        "case": case.case_id,
        "method": method,
        "dice": round(2 * both / (np.count_nonzero(mask) + np.count_nonzero(truth)), 4),
        "sensitivity": round(both / np.count_nonzero(truth), 4),
        "precision": round(both / np.count_nonzero(mask), 4),
        "ml": round(np.count_nonzero(mask) * volume.voxel_ml),
        "true_ml": round(np.count_nonzero(truth) * volume.voxel_ml),
        "seconds": round(seconds, 1),
    }
    print(" ".join(map(str, row.values())), flush=True)
    return row


def main() -> None:
    """Measure every case by every method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("heads", type=Path)
    parser.add_argument("--cases", nargs="*", help="only these")
    parser.add_argument("--methods", nargs="*", default=["hd-bet", "bet"])
    parser.add_argument("--out", type=Path, required=True)
    words = parser.parse_args()
    torch.set_num_threads(1)
    cases = get_cohort("brainweb").find_cases(words.heads).cases
    chosen = [case for case in cases if not words.cases or case.case_id in words.cases]
    pd.DataFrame([measure(case, how) for case in chosen for how in words.methods]).to_csv(words.out, index=False)


if __name__ == "__main__":
    main()
