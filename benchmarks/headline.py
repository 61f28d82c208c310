"""The headline tables of README and model card, made by `semcycle predict` and `semcycle evaluate`.

    python benchmarks/headline.py DATA --out build/headline            # validation sets and healthy scans
    python benchmarks/headline.py DATA --out build/headline --test     # and the clean test set, once a release
    python benchmarks/headline.py DATA --out build/headline --write    # and put the tables where they are shown

README gets the model and its intensity baseline on the test set (the validation tumours without it), MS and healthy
scans; the card gets everything, models before the current one too.

Every method gets the same treatment: `--model intensity=MODEL` scores the scan's own brightness after the model's
intensity scale and the model's post-processing, and is cut to the same brain. "raw" is the T2 scan as it is in the
file, the scanner's units pooled over the scans. All slices count, at the scans' own resolution, inside the brain
(where the stripped scan is not 0) and in lesions outside it.

The mask is the one that `semcycle predict` writes with its defaults; a false component is one of 14 mm3 or more that
touches no lesion. Finished predictions are not made again, so that an interrupted benchmark goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semcycle.prediction.scans import find_scans
from semcycle.training.calibration import Calibration
from semcycle.training.shipped import CARD, DEFAULT, bundled_models, find_model
from semcycle.volume import load_volume, save_volume

ROOT = Path(__file__).parents[1]
CSV = ROOT / "docs" / "results" / "headline.csv"
MARKERS = ("<!-- headline:start -->", "<!-- headline:end -->")
RAW = "T2 intensity, raw units"


@dataclass(frozen=True)
class ScanSet:
    """Scans that are predicted and scored together.

    Attributes:
        key: Name of its folder below ``--out``.
        title: In the tables.
        what: Of what kind the lesions are.
        places: Folder below DATA and pattern of the scans in it.
        truth: Scan's file name -> its lesion labels' file name; ``None`` for healthy scans.
    """

    key: str
    title: str
    what: str
    places: Sequence[tuple[str, str]]
    truth: Callable[[str], str] | None = None


SETS = (
    ScanSet(
        "validation-tumours",
        "validation: BraTS 2018, the five cases of BRATS 2013 origin",
        "tumours",
        [("brats", "Brats18_2013_*_t2.nii.gz")],
        lambda name: name.replace("_t2", "_seg"),
    ),
    ScanSet(
        "validation-ms",
        "validation: Ljubljana MS, patients 07 and 19",
        "MS plaques",
        [("mslub", "T2W.nii.gz")],
        lambda name: name.replace("T2W", "consensus_gt"),
    ),
    ScanSet(
        "test-tumours",
        "test: four BraTS 2021 cases and Brats18_2013_21_1, of which nothing but scores was looked at",
        "tumours",
        [("brats-test", "*_t2.nii.gz")],
        lambda name: name.replace("_t2", "_seg"),
    ),
    ScanSet(
        "healthy",
        "healthy adults",
        "none",
        [
            ("healthy/kirby113", "*T2w_processed_reg.nii.gz"),
            ("healthy/ixi002", "*T2.nii"),
            ("healthy/niivue", "t2.nii.gz"),
            ("healthy/valdo", "sub-*_t2.nii.gz"),
        ],
    ),
)
TEST = "test-tumours"


@dataclass
class Commands:
    """Runs `semcycle`, and keeps what a reader has to type for the same.

    Attributes:
        data: What DATA stands for.
        out: What OUT stands for.
        run: Executes words after ``semcycle``.
        typed: The commands, with DATA and OUT in the places' stead.
    """

    data: Path
    out: Path
    run: Callable[[Sequence[str]], None]
    typed: list[str] = field(default_factory=list)

    def __call__(self, *words: str | Path) -> None:
        """Run one command."""
        plain = [str(word) for word in words]
        shown = [word.replace(str(self.data), "DATA").replace(str(self.out), "OUT") for word in plain]
        self.typed.append("semcycle " + " ".join(shlex.quote(word) for word in shown))
        self.run(plain)


def run_semcycle(words: Sequence[str]) -> None:
    """In a process of its own; exit code 1 says that some scans failed, which the tables then say too."""
    done = subprocess.run([sys.executable, "-m", "semcycle.cli", *words], check=False)
    if done.returncode not in (0, 1):
        sys.exit(f"semcycle {shlex.join(words)} ended with exit code {done.returncode}")


# --- predictions and scores ---


def predict_set(scans: ScanSet, models: Sequence[str], commands: Commands) -> dict[str, Path]:
    """Model -> folder of predictions of all scans of a set."""
    folders = {}
    for model in models:
        folders[model] = commands.out / scans.key / model.replace("=", "-like-")
        for place, pattern in scans.places:
            options = ("--pattern", pattern, "--model", model, "--fast", "--out", folders[model])
            commands("predict", commands.data / place, *options)
    return folders


def score_set(scans: ScanSet, folders: Mapping[str, Path], commands: Commands, *, masks: Sequence[str]) -> pd.DataFrame:
    """The table of `semcycle evaluate` on anomaly maps, and beneath it the one on the lesion masks of some models."""
    folder = commands.out / scans.key
    files: dict[str, Path] = {}
    for place, pattern in scans.places:
        files |= find_scans(commands.data / place, pattern)
    rows: dict[str, list[dict[str, Any]]] = {"maps": [], "masks": []}
    for name, t2 in files.items():
        truth = t2.with_name(scans.truth(t2.name)) if scans.truth else t2
        case = {"case": name, "truth": truth, "brain": _brain_of(t2, folder / "brain" / f"{name}.nii.gz")}
        rows["maps"] += [
            {**case, "method": model, "prediction": path / f"{name}_anomaly.nii.gz"} for model, path in folders.items()
        ]
        rows["maps"].append({**case, "method": RAW, "prediction": t2})
        for model in masks:
            rows["masks"].append({**case, "method": model, "prediction": folders[model] / f"{name}_mask.nii.gz"})
    tables = []
    for what, options in (("maps", []), ("masks", ["--threshold", "0.5"])):
        table = pd.DataFrame(rows[what])
        for column in ("truth", "brain", "prediction"):
            table[column] = [Path(path).absolute() for path in table[column]]
        table.to_csv(folder / f"{what}.csv", index=False)
        commands("evaluate", folder / f"{what}.csv", *options, "--out", folder / f"{what}-scores")
        tables.append(pd.read_csv(folder / f"{what}-scores" / "table.csv").assign(of=what, case=""))
    return pd.concat(tables, ignore_index=True)


def _brain_of(t2: Path, target: Path) -> Path:
    """A mask file of the voxels of a stripped scan that are not 0."""
    volume = load_volume(t2)
    save_volume(target, np.asarray(volume.data != 0), volume)
    return target


# --- tables ---


def pick(table: pd.DataFrame, method: str, metric: str, pooling: str = "pooled", of: str = "maps") -> pd.Series | None:
    """The row of a metric; ``None`` where it was not measured."""
    found = table[(table.run == method) & (table.metric == metric) & (table.pooling == pooling) & (table.of == of)]
    return None if found.empty else found.iloc[0]


def show(row: pd.Series | None, digits: int = 3, *, interval: bool = False, scale: float = 1) -> str:
    """``.731 [.58, .81]``; a dash for what was not measured."""
    if row is None or pd.isna(row.value):
        return "–"
    text = f"{row.value * scale:.{digits}f}"
    if interval and not pd.isna(row.low):
        text += f" [{row.low * scale:.{digits - 1}f}, {row.high * scale:.{digits - 1}f}]"
    return re.sub(r"(?<!\d)0\.", ".", text) if scale == 1 and digits > 1 else text


CSV_COLUMNS = ("set", "case", "run", "of", "metric", "pooling", "value", "low", "high", "cases")
METRICS = (
    "auprc", "best_dice", "dice_at_given", "fpr_at_given", "false_positives_per_scan_at_given",
    "lesion_sensitivity_at_given",
)  # fmt: skip
POOLINGS = ("pooled", "per_case_mean")
COLUMNS = (
    "method", "AUPRC pooled [95 %]", "mean over cases", "best Dice (oracle) [95 %]", "Dice of the mask, mean",
    "false components a scan", "healthy voxels marked: promised, seen",
)  # fmt: skip


def score_rows(scans: ScanSet, table: pd.DataFrame, folders: Mapping[str, Path]) -> list[list[str]]:
    """A row a method: what the columns say."""
    rows = []
    for method in [*folders, RAW]:
        seen = pick(table, method, "fpr_at_given", of="masks")
        rows.append(
            [
                _label(method),
                show(pick(table, method, "auprc"), interval=True),
                show(pick(table, method, "auprc", "per_case_mean")),
                show(pick(table, method, "best_dice"), interval=True),
                show(pick(table, method, "dice_at_given", "per_case_mean", "masks"), interval=True),
                show(pick(table, method, "false_positives_per_scan_at_given", of="masks"), 1),
                "–" if seen is None else f"{_promised(method)}, {show(seen, 1, scale=100)} %",
            ]
        )
    return rows


def _label(method: str) -> str:
    word, _, like = method.partition("=")
    return f"T2 intensity, treated as {like}" if word == "intensity" else f"`{method}`" if method != RAW else RAW


def _promised(model: str) -> str:
    """The share of healthy voxels that the default mask of a model is meant to mark."""
    calibration = Calibration.load(find_model(model))
    if calibration is None:
        return "nothing"
    rule = calibration.masks.get(calibration.preset)
    if rule is not None:
        return f"{100 * rule.voxels.limit:g} %{'' if rule.voxels.kept else ' (an estimate)'}"
    return (
        "1 %" if any(abs(one.rate - 0.01) < 1e-9 for one in calibration.thresholds[calibration.preset]) else "nothing"
    )


def healthy_rows(folders: Mapping[str, Path]) -> list[list[str]]:
    """A row a healthy scan: what every model marks in it."""
    tables = {model: pd.read_csv(folder / "summary.csv").set_index("scan") for model, folder in folders.items()}
    first = next(iter(tables.values()))
    rows = []
    for scan in first.index:
        marked = []
        for table in tables.values():
            ml, brain = table.lesion_ml[scan], table.brain_ml[scan]
            marked.append(f"{ml:.1f} ({100 * ml / brain:.1f} %), {table.components[scan]:.0f}")
        rows.append([scan, f"{first.brain_ml[scan]:.0f}", *marked])
    return rows


def failures(folders: Mapping[str, Path]) -> list[str]:
    """What could not be predicted, a line a scan and model."""
    lines = []
    for model, folder in folders.items():
        if (folder / "failures.csv").is_file():
            table = pd.read_csv(folder / "failures.csv")
            lines += [
                f"Not done by `{model}`: {case} ({why})." for case, why in zip(table.case, table.reason, strict=True)
            ]
    return lines


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [list(head), ["---"] * len(head), *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def model_line(models: Sequence[str]) -> str:
    """Which models these are, to the digit."""
    parts = []
    for model in models:
        record = json.loads((find_model(model) / "run.json").read_text())
        parts.append(f"`{model}` is {record['fingerprint'][:12]} (semcycle {record['semcycle']})")
    return "; ".join(parts) + "."


# --- the benchmark ---


def main(words: Sequence[str] | None = None, run: Callable[[Sequence[str]], None] = run_semcycle) -> None:
    """Run all commands, write the tables, and put them where they are shown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("SEMCYCLE_DATA"), help="or SEMCYCLE_DATA")
    parser.add_argument("--out", type=Path, default=Path("build/headline"))
    parser.add_argument("--test", action="store_true", help="with the clean test set: for a release, not for choosing")
    parser.add_argument("--sets", nargs="+", choices=[one.key for one in SETS if one.key != TEST], help="only these")
    parser.add_argument("--models", nargs="+", default=[], help=f"{DEFAULT} and the models before it, if bundled")
    parser.add_argument("--write", action="store_true", help="into README, model card and docs/results/headline.csv")
    options = parser.parse_args(words)
    pages = [ROOT / "README.md", find_model((options.models or [DEFAULT])[0]) / CARD]
    if options.data is None or not Path(options.data).is_dir():
        parser.error(f"expected the folder of the scans as DATA or in SEMCYCLE_DATA, got {options.data}")
    if options.write and options.sets:
        parser.error("expected all sets with --write, got --sets; the pages show every set")
    keys = options.sets or [one.key for one in SETS if one.key != TEST]
    wanted = [one for one in SETS if one.key in keys or (one.key == TEST and options.test)]
    models = options.models or [DEFAULT, *(name for name in bundled_models() if name.startswith(f"{DEFAULT}-"))]
    commands = Commands(Path(options.data), options.out, run)
    card, short, kept = [], [], []
    for scans in wanted:
        methods = list(models) if scans.truth is None else [*models, f"intensity={models[0]}"]
        folders = predict_set(scans, methods, commands)
        if scans.truth is None:
            head = ["scan", "brain, ml", *(f"`{model}`: marked ml (share), components" for model in models)]
            rows = healthy_rows(folders)
            kept.append(_healthy_csv(folders).assign(set=scans.key))
            short += [[scans.title, *_healthy_short(folders[models[0]], models[0])]]
        else:
            table = score_set(scans, folders, commands, masks=models)
            head, rows = list(COLUMNS), score_rows(scans, table, folders)
            kept.append(table[table.metric.isin(METRICS) & table.pooling.isin(POOLINGS)].assign(set=scans.key))
            name = f"{scans.what} ({scans.title.partition(':')[0]}, n = {_cases(table)})"
            if not (
                options.test and scans.key == "validation-tumours"
            ):  # the test set says the same, and more honestly
                short += [[name, *row[:6]] for row in rows if row[0] in (_label(models[0]), _label(methods[-1]))]
        card += [f"**{scans.title[0].upper()}{scans.title[1:]}**", "", markdown(head, rows), ""]
        card += [line for failure in failures(folders) for line in (failure, "")]
    again = f"python benchmarks/headline.py DATA --out OUT{' --test' if options.test else ''}"
    card.append(f"Made by `{again}`, whose commands stand in `OUT/commands.txt`. {model_line(models)}")
    texts = {
        "card.md": "\n".join(card).strip(),
        "readme.md": markdown(["scans", *COLUMNS[:6]], short),
        "commands.txt": "\n".join(commands.typed) + "\n",
    }
    for name, text in texts.items():
        (options.out / name).write_text(text + "\n", encoding="utf-8")
    pd.concat(kept)[list(CSV_COLUMNS)].to_csv(options.out / "headline.csv", index=False, float_format="%.5g")
    if options.write:
        for page, name in zip(pages, ("readme.md", "card.md"), strict=True):
            fill(page, texts[name])
        CSV.write_bytes((options.out / "headline.csv").read_bytes())
    print("\n\n".join([texts["card.md"], texts["readme.md"]]))


def fill(page: Path, text: str) -> None:
    """Replace what stands between a page's markers."""
    start, end = MARKERS
    before, opened, rest = page.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not opened or not closed:
        sys.exit(f"{page}: expected the markers {start} and {end}, found none; add them where the table belongs")
    page.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}", encoding="utf-8")


def _cases(table: pd.DataFrame) -> int:
    return int(table[table.metric == "auprc"].cases.max())


def _healthy_csv(folders: Mapping[str, Path]) -> pd.DataFrame:
    """A row a model, scan and figure of ``summary.csv``, with the columns of a score table."""
    tables = []
    for model, folder in folders.items():
        table = pd.read_csv(folder / "summary.csv")
        long = table.melt("scan", ["brain_ml", "lesion_ml", "components"], "metric", "value")
        tables.append(long.assign(run=model, of="masks", pooling="", low=np.nan, high=np.nan, cases=1))
    return pd.concat(tables).rename(columns={"scan": "case"})


def _healthy_short(folder: Path, model: str) -> list[str]:
    """One line for all healthy scans: the range of what is marked."""
    table = pd.read_csv(folder / "summary.csv")
    ml = f"{table.lesion_ml.min():.0f} to {table.lesion_ml.max():.0f} ml marked"
    return [f"`{model}`", "–", "–", "–", ml, f"{table.components.mean():.1f}"]


if __name__ == "__main__":
    main()
