"""Tables 1 and 2: our scores, and the paper's numbers beside those of the same test set."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semcycle.scoring.metrics.metrics import METRICS

Published = Mapping[str, Mapping[str, tuple[float, float]]]
PUBLISHED_METRICS = ("auprc", "best_dice")
TABLE_1 = ("cycle discrete", "cycle continuous")
_SEED = re.compile(r" seed \d+$")


def paper_table(
    tables: Mapping[str, pd.DataFrame], beside: Mapping[str, str], published: Published, presets: Sequence[str]
) -> pd.DataFrame:
    """One row a method; for every test set and metric ours under each preset with its interval, and the paper's value.

    Runs that differ in the seed alone (``AE seed 0``, ``AE seed 1``) share a row: the mean of their values and of their
    bounds, and in ``... sd`` the standard deviation of the values.

    Args:
        tables: Title of a test set -> tidy score table.
        beside: Title -> the paper's test set whose numbers stand beside; none for a set that the paper has not.
        published: Row -> the paper's test set -> AUPRC, best Dice.
        presets: In this order.

    Returns:
        Index ``method``; columns such as ``BraTS 2018 AUPRC literal``, ``... sd``, ``... low``, ``... high``, and
        ``BraTS 2019 AUPRC paper``. Methods of the paper without a run keep a row with the paper's values alone.
    """
    runs = list(dict.fromkeys(str(run) for table in tables.values() for run in table["run"]))
    names = list(dict.fromkeys([*published, *map(without_seed, runs)]))
    columns: dict[str, list[float]] = {}
    for title, table in tables.items():
        pooled = table[table["pooling"] == "pooled"].assign(method=table["run"].map(lambda run: without_seed(str(run))))
        cells = {key: part[["value", "low", "high"]] for key, part in pooled.groupby(["method", "preset", "metric"])}
        for place, metric in enumerate(PUBLISHED_METRICS):
            label = METRICS[metric].label
            for preset in presets:
                frames = [cells.get((name, preset, metric), pooled.iloc[:0]) for name in names]
                columns |= _columns(f"{title} {label} {preset}", frames)
            if paper := beside.get(title):
                numbers = [published.get(name, {}).get(paper, (np.nan, np.nan)) for name in names]
                columns[f"{paper} {label} paper"] = [number[place] for number in numbers]
    return pd.DataFrame(columns, index=pd.Index(names, name="method"))


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Fold spreads and intervals into their cells, for people: ``0.569 ± 0.012 [0.41, 0.70]``.

    All cells are text, so that no renderer calls the best of ours and the paper's: they are of other cases.
    """
    missing = pd.Series(np.nan, frame.index)
    cells = {}
    for name in frame.columns:
        if not name.endswith((" sd", " low", " high")):
            parts = (frame[name], *(frame.get(f"{name} {part}", missing) for part in ("sd", "low", "high")))
            cells[name] = pd.Series([_cell(*part) for part in zip(*parts, strict=True)], index=frame.index)
    return pd.DataFrame(cells, index=frame.index)


def without_seed(run: str) -> str:
    """The row of a run: ``AE`` of ``AE seed 1``."""
    return _SEED.sub("", run)


def _columns(name: str, frames: Sequence[pd.DataFrame]) -> dict[str, list[float]]:
    values = [part["value"].to_numpy(float) for part in frames]
    columns = {name: [_mean(row) for row in values]}
    if any(len(row) > 1 for row in values):
        columns[f"{name} sd"] = [float(row.std(ddof=1)) if len(row) > 1 else np.nan for row in values]
    return columns | {
        f"{name} {bound}": [_mean(part[bound].to_numpy(float)) for part in frames] for bound in ("low", "high")
    }


def _cell(value: float, sd: float, low: float, high: float) -> str | None:
    if np.isnan(value):
        return None
    spread = "" if np.isnan(sd) else f" ± {sd:.3f}"
    return f"{value:.3f}{spread}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
