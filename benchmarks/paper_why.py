"""Why the paper's order holds here or does not: paper-medium's cycle with one thing changed at a time.

    python benchmarks/paper_why.py --brats STORE --split benchmarks/brats27-split.json --out build/why
    python benchmarks/paper_why.py ... --median STORE --healthy STORE --spm STORE --only b c    # what needs more stores

Every row is a training of `semcycle train` with recipe paper-medium/cycle-continuous and the changes in its name, seed
0, scored on the test cases of the split, and asked what it does to their lesions:

- CSF: share of the lesions' voxels whose most probable class of S is CSF (the leak), and GM likewise;
- error in lesions, healthy: mean |x - G(S(x))| there, and their ratio.

Tables: a, training length, continuous and one-hot; b, what G learns from, and temperature; c, intensity scale; d,
lesion-free slices against healthy anatomies; e, SPM's maps against the atlas's; f, batch and norm of G. A killed run
continues; finished rows are kept in OUT/why.csv. With four tables of 2 to 6 rows, each of one seed, differences of the
size that seeds make (docs/results) say nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.report.tables import to_markdown_text
from semcycle.store.slice_store import SliceStore
from semcycle.store.split import load_split
from semcycle.studies.running import run_scoring, run_training
from semcycle.training import Hardware
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import Recipe, load_recipe, parse_recipe

BASE = "paper-medium/cycle-continuous"
PRESETS = ("literal", "baur", "smooth")


@dataclass(frozen=True)
class Row:
    """A training.

    Attributes:
        table: Letter of its table.
        changes: Dotted names of the recipe's settings -> other values.
        store: Option that names its training slices.
        like: Row whose S is taken over.
    """

    table: str
    changes: dict[str, Any]
    store: str = "brats"
    like: str = ""


def _length(segmentation: int, synthesis: int, semantics: str = "continuous") -> dict[str, Any]:
    return {
        "method.segmentation.epochs": segmentation,
        "method.synthesis.epochs": synthesis,
        "method.semantics": semantics,
    }


ROWS = {
    "S 30, G 15, continuous": Row("a", _length(30, 15)),
    "S 30, G 15, one-hot": Row("a", _length(30, 15, "discrete"), like="S 30, G 15, continuous"),
    "S 10, G 5, continuous": Row("a", _length(10, 5)),
    "S 10, G 5, one-hot": Row("a", _length(10, 5, "discrete"), like="S 10, G 5, continuous"),
    "S 3, G 2, continuous": Row("a", _length(3, 2)),
    "S 3, G 2, one-hot": Row("a", _length(3, 2, "discrete"), like="S 3, G 2, continuous"),
    "G from S's output": Row("b", {"method.synthesis.source": "segmenter"}, like="S 30, G 15, continuous"),
    "G from maps and S's output": Row("b", {"method.synthesis.source": "mixed"}, like="S 30, G 15, continuous"),
    "temperature 2": Row("b", {"method.temperature": 2.0}, like="S 30, G 15, continuous"),
    "temperature 0.5": Row("b", {"method.temperature": 0.5}, like="S 30, G 15, continuous"),
    "median scale": Row("c", {}, "median"),
    "healthy anatomies": Row("d", {}, "healthy"),
    "SPM's maps": Row("e", {}, "spm"),
    "the atlas's maps, SPM's cases": Row("e", {}, "spm_atlas"),
    "group norm in G": Row("f", {"method.synthesis.norm": "group"}, like="S 30, G 15, continuous"),
    "batches of 16": Row("f", {"training.batch_size": 16}),
}


def make_recipe(changes: dict[str, Any]) -> Recipe:
    """The medium recipe with some settings changed."""
    content = load_recipe(BASE).to_dict()
    for name, value in changes.items():
        *place, last = name.split(".")
        part = content
        for key in place:
            part = part[key]
        part[last] = value
    return parse_recipe(content, BASE)


def look_at_lesions(run: Path, store: SliceStore, cases: list[str]) -> dict[str, float]:
    """What S and G do to the lesions of test cases."""
    method = load_checkpoint(run).method
    sums = np.zeros(6)
    for case_id in cases:
        case = store.load(case_id)
        x, brain = np.asarray(case.image, np.float32), np.asarray(case.brain) > 0
        made = reconstruct_slices(method, x, brain)
        if made.tissue is None:
            raise SystemExit(f"{run}: expected tissue maps, got none")
        lesion, healthy = (np.asarray(case.lesion) > 0) & brain, brain & ~case.abnormal
        known = made.tissue.sum(axis=1) > 0.5  # the rest is S's background
        most = np.where(known, made.tissue.argmax(axis=1), 3)
        error = np.abs(x - made.image)
        sums += [
            (most[lesion] == 2).sum(),
            (most[lesion] == 0).sum(),
            lesion.sum(),
            error[lesion].sum(),
            error[healthy].sum(),
            healthy.sum(),
        ]
    csf, gm, lesions, wrong, wrong_healthy, healthy_count = sums
    inside, outside = wrong / lesions, wrong_healthy / healthy_count
    return {
        "CSF": csf / lesions,
        "GM": gm / lesions,
        "error in lesions": inside,
        "error in healthy": outside,
        "ratio": inside / outside,
    }


def run_row(name: str, options: argparse.Namespace, hardware: Hardware) -> dict[str, Any] | None:
    """Train, score and question a row; ``None`` where its store was not given."""
    row = ROWS[name]
    place = getattr(options, row.store)
    if place is None:
        print(f"{name}: needs --{row.store.replace('_', '-')}")
        return None
    training, folders = SliceStore(place), {each: options.out / each.replace(" ", "-") for each in (name, row.like)}
    split = load_split(options.split, SliceStore(options.brats))
    cases = [case for case in split.train if case in training.case_ids]
    cases = list(training.case_ids) if row.store == "healthy" else cases
    reuse = folders[row.like] if row.like and (folders[row.like] / "model.safetensors").is_file() else None
    run = run_training(
        make_recipe(row.changes), training, cases, folders[name], resume=True, reuse=reuse, hardware=hardware
    )
    test = SliceStore(options.median if row.store == "median" else options.brats)
    table, _ = run_scoring(
        {"row": run},
        test,
        list(split.test),
        options.out / "scores" / folders[name].name,
        presets=PRESETS,
        lesions=False,
    )
    pooled = table.table[(table.table["pooling"] == "pooled") & (table.table["run"] == "row")]
    scores = {
        f"{metric} {preset}": float(pooled.query("preset == @preset and metric == @metric")["value"].iloc[0])
        for metric in ("auprc", "best_dice")
        for preset in PRESETS
    }
    facts = {"table": row.table, "row": name, "training cases": len(cases)}
    return facts | scores | look_at_lesions(run, test, list(split.test))


def main() -> None:
    """Run the rows and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("brats", "split", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    for name in ("median", "healthy", "spm", "spm-atlas"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--only", nargs="*", default=list("abcdef"), help="Letters of tables.")
    parser.add_argument("--precision", default="32-true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "why.csv"
    done = pd.read_csv(path).to_dict("records") if path.is_file() else []
    for name, row in ROWS.items():
        if row.table in options.only and name not in {each["row"] for each in done}:
            outcome = run_row(name, options, Hardware(precision=options.precision))
            if outcome:
                done.append(outcome)
                pd.DataFrame(done).to_csv(path, index=False)
    frame = pd.DataFrame(done)
    for letter, part in frame.groupby("table"):
        print(f"\n{letter}\n\n{to_markdown_text(part.drop(columns='table').set_index('row').round(3))}")


if __name__ == "__main__":
    main()
