"""ScoreTable: from the counts of every case to tidy rows with intervals, whatever made the scores."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semcycle.errors import ScoringError
from semcycle.files import write_bytes
from semcycle.scoring.entries import Entry
from semcycle.scoring.metrics.bootstrap import Draws, SubjectBootstrap
from semcycle.scoring.metrics.curve import curve
from semcycle.scoring.metrics.metrics import name_at
from semcycle.scoring.panels import Panel, load_panels, save_panels
from semcycle.scoring.rows import case_columns, entry_rows
from semcycle.spreadsheet import defuse_frame, read_words

CURVE_POINTS = 512
TABLE_COLUMNS = [
    *("run", "method", "preset", "metric", "pooling", "value", "low", "high", "low_bca", "high_bca"),
    *("threshold", "threshold_source", "cases", "prevalence"),
]
COMPARED = [("auprc", "pooled"), ("auprc", "per_case_mean"), ("best_dice", "pooled")]
"""Metric and pooling of the paired tests, to which Dice at every threshold, averaged over cases, is added."""
COMPARISON_COLUMNS = [
    *("preset", "metric", "pooling", "run", "other", "difference", "low", "high", "low_bca", "high_bca"),
    *("p", "cases"),
]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all entries.

    Attributes:
        table: Tidy, a row a run, preset, metric and pooling: ``run, method, preset, metric, pooling, value, low, high,
            low_bca, high_bca, threshold, threshold_source, cases, prevalence``. ``low`` and ``high`` bound the 95 %
            percentile bootstrap interval over subjects, ``low_bca`` and ``high_bca`` the BCa one.
        per_case: A row a run, preset and case.
        curves: ``"<run>|<preset>|precision"`` (``recall``, ``thresholds``, ``dice``, ``fpr``) -> ``(<= 512,)``;
            ``froc_false_positives`` and ``froc_sensitivity`` where lesions were looked at.
        panels: Pictures, for methods over a store.
        comparisons: Paired bootstrap tests, a row a preset, metric and pair of runs: ``run`` minus ``other``, the 95 %
            intervals of that difference, and the two-sided p, not corrected for the number of tests.
    """

    table: pd.DataFrame
    per_case: pd.DataFrame
    curves: dict[str, NDArray[np.float64]]
    panels: list[Panel] = field(default_factory=list)
    comparisons: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COMPARISON_COLUMNS))

    def save(self, folder: Path) -> None:
        """Write ``table``, ``per_case``, ``comparisons`` and ``curves`` as CSV, ``curves.npz`` and ``panels.npz``."""
        for name in ("per_case", "comparisons"):
            write_bytes(folder / f"{name}.csv", _csv(getattr(self, name)))
        write_bytes(folder / "curves.csv", _csv(_curve_frame(self.curves)))
        content = io.BytesIO()
        np.savez_compressed(content, **self.curves)  # type: ignore[arg-type]
        write_bytes(folder / "curves.npz", content.getvalue())
        save_panels(folder / "panels.npz", self.panels)
        write_bytes(folder / "table.csv", _csv(self.table))

    @classmethod
    def load(cls, folder: Path) -> ScoreTable:
        """Read what :meth:`save` wrote.

        Raises:
            ScoringError: A file is missing or damaged.
        """
        try:
            table, per_case, comparisons = (
                read_score_csv(folder / f"{name}.csv") for name in ("table", "per_case", "comparisons")
            )
            with np.load(folder / "curves.npz", allow_pickle=False) as arrays:
                curves = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            msg = f"{folder}: expected scores of `semcycle score`, got missing or damaged files ({error}); score again"
            raise ScoringError(msg) from error
        return cls(table, per_case, curves, load_panels(folder / "panels.npz"), comparisons)


def build_table(
    entries: Sequence[Entry], panels: Sequence[Panel] = (), *, resamples: int = 2000, seed: int = 0
) -> ScoreTable:
    """Make the table, the per-case table, the curves and the comparisons.

    Args:
        entries: One a run and preset.
        panels: Pictures to keep with the scores.
        resamples: Of the bootstrap; at least 100.
        seed: Of the bootstrap.

    Raises:
        ScoringError: There is nothing to score, no case has a lesion, entries differ in their cases, or two share run
            and preset.
    """
    _check(entries)
    bootstrap = SubjectBootstrap([case.subject for case in entries[0].cases], resamples=resamples, seed=seed)
    rows: list[dict[str, Any]] = []
    cases: list[pd.DataFrame] = []
    curves: dict[str, NDArray[np.float64]] = {}
    draws: dict[str, dict[tuple[str, str], dict[str, tuple[Draws, int]]]] = {}
    for entry in entries:
        common = {"run": entry.run, "method": entry.method, "preset": entry.preset}
        compared = [*COMPARED, *((name_at("dice", threshold.rule), "per_case_mean") for threshold in entry.thresholds)]
        for row in entry_rows(entry, bootstrap):
            value = {"metric": row.metric, "pooling": row.pooling, "value": row.draws.value}
            threshold = {"threshold": row.threshold, "threshold_source": row.source}
            count = {"cases": row.cases, "prevalence": row.prevalence}
            rows.append(common | value | row.draws.interval()._asdict() | threshold | count)
            if (row.metric, row.pooling) in compared:
                by_run = draws.setdefault(entry.preset, {}).setdefault((row.metric, row.pooling), {})
                by_run[entry.run] = (row.draws, row.cases)
        cases.append(pd.DataFrame(common | case_columns(entry)))
        curves |= {f"{entry.run}|{entry.preset}|{name}": values for name, values in _curves(entry).items()}
    return ScoreTable(
        pd.DataFrame(rows, columns=TABLE_COLUMNS),
        pd.concat(cases, ignore_index=True),
        curves,
        list(panels),
        _comparisons(draws),
    )


def _check(entries: Sequence[Entry]) -> None:
    if not entries or not entries[0].cases:
        msg = "expected at least one run and one case to score, got none; check the split or the folders"
        raise ScoringError(msg)
    names = [(entry.run, entry.preset) for entry in entries]
    if len(set(names)) < len(names):
        msg = f"expected entries of different names, got {', '.join(map('/'.join, names))}; rename a run"
        raise ScoringError(msg)
    expected = [(case.case, case.subject) for case in entries[0].cases]
    for entry in entries:
        if [(case.case, case.subject) for case in entry.cases] != expected:
            msg = (
                f"{entry.run}: expected the cases of {entries[0].run} in their order, got others; score all on the same"
            )
            raise ScoringError(msg)
    if not entries[0].counts.positives.any():
        msg = f"expected a lesion in the test cases, got none in {len(expected)}; AUPRC and Dice need one"
        raise ScoringError(msg)


def _curves(entry: Entry) -> dict[str, NDArray[np.float64]]:
    """At most ``CURVE_POINTS`` points of the pooled curves, spread evenly over the recall."""
    c = curve(entry.counts)
    wanted = np.linspace(0, c.positives, CURVE_POINTS)
    index = np.unique(np.clip(np.searchsorted(c.true_positives, wanted), 0, len(c.thresholds) - 1))
    whole = {
        "precision": c.precision, "recall": c.recall, "thresholds": c.thresholds, "dice": c.dice,
        "fpr": c.false_positive_rate,
    }  # fmt: skip
    parts = {name: np.asarray(values, float)[index] for name, values in whole.items()}
    if entry.froc is not None:
        froc = np.asarray(entry.froc, float)
        parts |= {"froc_false_positives": froc[:, 0], "froc_sensitivity": froc[:, 1]}
    return parts


def _curve_frame(curves: dict[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Curves as a long table: run, preset, curve (``voxels`` or ``lesions``), and a column a part."""
    frames: dict[tuple[str, str, str], dict[str, NDArray[np.float64]]] = {}
    for name, values in curves.items():
        run, preset, part = name.rsplit("|", 2)
        kind = "lesions" if part.startswith("froc_") else "voxels"
        frames.setdefault((run, preset, kind), {})[part.removeprefix("froc_")] = values
    tables = [
        pd.DataFrame(parts).assign(run=run, preset=preset, curve=kind) for (run, preset, kind), parts in frames.items()
    ]
    columns = ["run", "preset", "curve"]
    if not tables:
        return pd.DataFrame(columns=columns)
    frame = pd.concat(tables, ignore_index=True)
    return frame[[*columns, *(name for name in frame if name not in columns)]]


def _comparisons(draws: dict[str, dict[tuple[str, str], dict[str, tuple[Draws, int]]]]) -> pd.DataFrame:
    rows = []
    for preset, by_metric in draws.items():
        for (metric, pooling), by_run in by_metric.items():
            for run, other in combinations(by_run, 2):
                difference = by_run[run][0] - by_run[other][0]
                names = {"preset": preset, "metric": metric, "pooling": pooling, "run": run, "other": other}
                value = {"difference": difference.value} | difference.interval()._asdict()
                rows.append(names | value | {"p": difference.p_value(), "cases": by_run[run][1]})
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def read_score_csv(path: Path) -> pd.DataFrame:
    """Read a table of scores; names of cases and runs are text as they were written."""
    return read_words(path, ("case", "subject", "run", "other", "preset"))


def _csv(frame: pd.DataFrame) -> bytes:
    return str(defuse_frame(frame).to_csv(index=False, float_format="%.6g")).encode()
