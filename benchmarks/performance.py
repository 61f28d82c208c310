"""The tables of docs/explanation/performance.md, measured and written in one go on this machine.

    python benchmarks/performance.py                              # what needs no data, about 20 minutes
    python benchmarks/performance.py --sections folder engines    # some tables; the others stay as they are
    python benchmarks/performance.py --sections tissue --brainweb VARIED   # see benchmarks/tissue_accuracy.py
    python benchmarks/performance.py --sections bfloat16 --brats BRATS     # see benchmarks/engine_accuracy.py
    python benchmarks/performance.py --small --page /tmp/page.md  # tiny sizes: shows that it runs, and nothing else

Every table says its day, its machine, and with `--busy` that other work ran beside it. Peers of a table are measured in
the same run, so that ratios hold where seconds do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import engine_accuracy
import memory
import numpy as np
import torch

import scoring
from semcycle.errors import CheckpointError
from semcycle.files import read_json, write_bytes
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.training.engines import BFLOAT16, ENGINES, TORCH, use_engine
from semcycle.training.models import open_model
from semcycle.training.shipped import DEFAULT

PAGE = Path(__file__).parents[1] / "docs/explanation/performance.md"
BIOBANK = 40_000
"""Scans of a large study."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    scans: int = 8
    spacing: float = 1.0
    many: int = 2000
    spacings: tuple[float, ...] = (2.0, 1.0, 0.75, 0.5)
    voxels: int = 20_000_000
    slices: int = 155
    threads: int = 2
    brainweb: Path | None = None
    brats: Path | None = None


SMALL = Plan(2, 6.0, 6, (6.0,), 200_000, 4, 1)
Table = list[list[str]]
"""Heading and rows."""


def predict_folder(plan: Plan) -> Table:
    """A folder in one process with all threads, and in one and two workers of one thread."""
    table = [["`semcycle predict`", "seconds a scan", "scans an hour", "ratio", "peak MB of the largest process"]]
    with tempfile.TemporaryDirectory() as place:
        scans, base, hourly = Path(place) / "scans", 0.0, {}
        memory.write_head(scans / "head-0.nii.gz", plan.spacing)
        for number in range(1, plan.scans):
            os.link(scans / "head-0.nii.gz", scans / f"head-{number}.nii.gz")
        for words in ([], ["--workers", "1"], ["--workers", "2"]):
            out = Path(place) / f"out-{'-'.join(words)}"
            call = ["-m", "semcycle.cli", "predict", str(scans), "--fast", "--out", str(out), *words]
            usage = memory.run_child(call, 1 if words else plan.threads)
            seconds = usage.seconds / plan.scans
            base = base or seconds
            hourly[" ".join(words)] = 3600 / seconds
            name = " ".join(["--fast", *words])
            cells = [f"{seconds:.2f}", f"{3600 / seconds:,.0f}", f"{base / seconds:.2f}", f"{usage.megabytes:.0f}"]
            table.append([f"`{name}`", *cells])
    two = hourly["--workers 2"]
    for words, rate in (
        (f"{BIOBANK:,} scans on this machine, two workers", two),
        (f"{BIOBANK:,} scans on 1,000 such cores: 500 times that rate, storage permitting", 500 * two),
    ):
        table.append([words, "", f"{rate:,.0f}", "", f"{BIOBANK / rate:,.1f} hours in all"])
    return table


def predict_many(plan: Plan) -> Table:
    """What a scan costs at the beginning and at the end of a long folder, without networks, which cost the same."""
    with tempfile.TemporaryDirectory() as place:
        scans, out = Path(place) / "scans", Path(place) / "out"
        memory.write_head(scans / "head-0000.nii.gz", 8.0)
        for number in range(1, plan.many):
            os.link(scans / "head-0000.nii.gz", scans / f"head-{number:04}.nii.gz")
        words = ["predict", str(scans), "--fast", "--model", "intensity", "--out", str(out)]
        memory.run_child(["-m", "semcycle.cli", *words], 1)
        records = [out / f"head-{number:04}_record.json" for number in range(plan.many)]
        done = [record.stat().st_mtime for record in records]
        seconds = [read_json(record)["scan"]["seconds"] for record in records]
    some = min(100, max(2, plan.many // 10))
    first, last = (float(np.median(np.diff(part))) for part in (done[:some], done[-some:]))
    own = [float(np.median(part)) for part in (seconds[:some], seconds[-some:])]
    rows = [["from one finished scan to the next (median)", f"{first:.3f}", f"{last:.3f}", f"{last / first:.2f}"]]
    rows.append(["the scan's own seconds, as its record has them (median)", *(f"{value:.2f}" for value in own)])
    rows[-1].append(f"{own[1] / own[0]:.2f}" if own[0] else "")
    return [[f"{plan.many} scans of 8 mm", f"first {some}, s", f"last {some}, s", "ratio"], *rows]


def grow_voxels(plan: Plan) -> Table:
    """Time and peak memory against voxels."""
    table = [["voxels", "million", "seconds", "CPU seconds", "peak MB"]]
    with tempfile.TemporaryDirectory() as place:
        for spacing in plan.spacings:
            shape, usage = memory.measure(spacing, plan.threads, Path(place), pages=False)
            figures = [np.prod(shape) / 1e6, usage.seconds, usage.cpu_seconds]
            cells = [f"{figure:.1f}" for figure in figures]
            table.append([" x ".join(map(str, shape)), *cells, f"{usage.megabytes:.0f}"])
    return table


def score_voxels(plan: Plan) -> Table:
    """AUPRC and best Dice beside scikit-learn and torchmetrics."""
    table = [["AUPRC and best Dice", "voxels", "seconds", "times semcycle's", "peak MB", "AUPRC"]]
    for name in scoring.CONTENDERS:
        if name.startswith("torchmetrics") and find_spec("torchmetrics") is None:
            table.append([name, "", "not installed", "", "", ""])
            continue
        voxels = scoring.fitting(name, plan.voxels, scoring.available_memory())
        row = scoring.measure(name, voxels, plan.threads)
        ours = row if name == "semcycle" else scoring.measure("semcycle", voxels, plan.threads)
        ratio = row["seconds"] / ours["seconds"]
        resampled = f"{name}, 2,000 resamples included" if name == "semcycle" else name
        cells = [f"{voxels:,}", f"{row['seconds']:.2f}", f"{ratio:.1f}", f"{row['megabytes']:.0f}"]
        table.append([resampled, *cells, f"{row['auprc']:.6f}"])
    return table


def change_engines(plan: Plan) -> Table:
    """The bundled model's networks over a scan's slices, on every engine that is installed."""
    torch.set_num_threads(plan.threads)
    model = open_model(DEFAULT)
    x = np.random.default_rng(0).random((plan.slices, model.preprocess.size, model.preprocess.size), np.float32)
    brain = np.zeros(x.shape, bool)
    brain[:, 14:114, 24:104] = True
    x = 0.3 * x * brain
    table, scores, base = (
        [["engine", f"seconds for {plan.slices} slices", "ratio", "largest difference of a score"]],
        None,
        0.0,
    )
    for engine in (TORCH, BFLOAT16, *ENGINES):
        try:
            method = use_engine(model, engine).method
        except CheckpointError:
            table.append([engine, "not installed", "", ""])
            continue
        seconds = []
        for _ in range(3):  # the first one starts the engine
            started = time.perf_counter()
            made = reconstruct_slices(method, x, brain).score
            seconds.append(time.perf_counter() - started)
        best = min(seconds[1:])
        base, scores = base or best, made if scores is None else scores
        table.append([engine, f"{best:.2f}", f"{base / best:.2f}", f"{np.abs(made - scores).max():.0e}"])
    return table


def map_tissue(plan: Plan) -> Table:
    """Dice and CPU seconds of tissue maps on BrainWeb's models that S never saw."""
    if plan.brainweb is None:
        sys.exit("--sections tissue: expected --brainweb, the folder of `semcycle simulate brainweb --vary --seed 1`")
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "tissue.csv"
        script = Path(__file__).with_name("tissue_accuracy.py")
        words = ["--brainweb", plan.brainweb, "--tissue", "model", "atlas-fast", "atlas", "--workers", 1, "--out", file]
        words += ["--cases", "subject04", "subject20", "subject54"]
        subprocess.run([sys.executable, script, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
        import pandas as pd

        means = pd.read_csv(file).groupby("tissue", sort=False)[["dice", "seconds"]].mean()
    base = means.loc["atlas", "seconds"]
    rows = [[f"`{name}`", f"{dice:.3f}", f"{s:.1f}", f"{base / s:.1f}"] for name, dice, s in means.itertuples()]
    return [["`--tissue`", "mean Dice", "CPU seconds a scan", "times as fast as atlas"], *rows]


def compare_scores(plan: Plan) -> Table:
    """Scores and masks of real tumours in bfloat16 and in single precision."""
    if plan.brats is None:
        sys.exit("--sections bfloat16: expected --brats, a folder with cases of BraTS 2018 below it")
    return engine_accuracy.as_table(engine_accuracy.compare_cases(plan.brats), BFLOAT16)


SECTIONS: dict[str, Callable[[Plan], Table]] = {
    "folder": predict_folder,
    "many": predict_many,
    "voxels": grow_voxels,
    "scoring": score_voxels,
    "engines": change_engines,
    "tissue": map_tissue,
    "bfloat16": compare_scores,
}
NEED_DATA = ("tissue", "bfloat16")


def write_table(page: Path, section: str, table: Table, note: str) -> None:
    """Put a table between a page's marks of a section."""
    rows = ["| " + " | ".join(row) + " |" for row in table]
    rows.insert(1, "|" + "---|" * len(table[0]))
    block = f"<!-- {section}:start -->\n\n" + "\n".join([*rows, "", note, "", f"<!-- {section}:end -->"])
    text = page.read_text(encoding="utf-8")
    found = re.search(rf"<!-- {section}:start -->.*?<!-- {section}:end -->", text, re.DOTALL)
    if found is None:
        sys.exit(f"{page}: expected the marks <!-- {section}:start --> and <!-- {section}:end -->, found none")
    write_bytes(page, (text[: found.start()] + block + text[found.end() :]).encode())


def machine(plan: Plan, *, busy: bool) -> str:
    """What the figures were measured on, and when."""
    beside = ", beside other work: seconds are too long, ratios rough" if busy else ""
    cores = len(os.sched_getaffinity(0))
    processor = f"{cores} of {os.cpu_count()} cores of an {platform.machine()} machine"
    day, version = time.strftime("%Y-%m-%d"), torch.__version__
    return textwrap.fill(f"Measured on {day}, {processor}, {plan.threads} threads, torch {version}{beside}.", 120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=[name for name in SECTIONS if name not in NEED_DATA]
    )
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--busy", action="store_true", help="say that other work ran on the machine")
    for name in ("scans", "many", "voxels", "slices", "threads"):
        parser.add_argument(f"--{name}", type=int, default=None)
    parser.add_argument("--spacings", type=float, nargs="+", default=None)
    parser.add_argument("--brainweb", type=Path, default=None)
    parser.add_argument("--brats", type=Path, default=None)
    words = parser.parse_args()
    given = {key: value for key, value in vars(words).items() if key in Plan.__dataclass_fields__ and value is not None}
    base = SMALL if words.small else Plan()
    plan = Plan(**{**base.__dict__, **given})
    for section in words.sections:
        table = SECTIONS[section](plan)
        write_table(words.page, section, table, machine(plan, busy=words.busy))
        print("\n".join([section, *(" | ".join(row) for row in table)]), flush=True)


if __name__ == "__main__":
    main()
