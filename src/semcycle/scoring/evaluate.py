"""Evaluation: any number of methods on the same voxels of the same cases, into one ScoreTable.

What counts are the voxels of the brain on the working grid, in all slices of the store, with and without lesion.
Lesion voxels outside the brain mask count too, as missed (score 0): a mask must not hide them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semcycle.errors import ScoringError, SplitError
from semcycle.files import write_bytes
from semcycle.scoring.anomaly_map import Reconstructed
from semcycle.scoring.bootstrap import bootstrap_intervals
from semcycle.scoring.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics import auprc, auroc, best_dice, curve, dice_at, prevalence
from semcycle.scoring.panels import Panel, RunPanel, load_panels, save_panels
from semcycle.scoring.postprocess import make_anomaly_map
from semcycle.store import SliceStore
from semcycle.types import SliceArray, SliceMask

CURVE_POINTS = 512
ORACLE = "oracle: best on these test cases"
COLUMNS = [
    "run",
    "method",
    "preset",
    "metric",
    "pooling",
    "value",
    "low",
    "high",
    "threshold",
    "threshold_source",
    "cases",
    "prevalence",
]


@dataclass(frozen=True)
class Contestant:
    """What is scored.

    Attributes:
        name: In the table.
        method: Name of the method.
        train_subjects: Subjects it has seen; none of them may be tested.
        reconstruct: ``(x (S, H, W), brain (S, H, W))`` -> what the method makes of them.
    """

    name: str
    method: str
    train_subjects: frozenset[str]
    reconstruct: Callable[[SliceArray, SliceMask], Reconstructed]


@dataclass(frozen=True)
class ScoreTable:
    """Scores of all contestants.

    Attributes:
        table: Tidy, a row a run, preset and metric: ``run, method, preset, metric, pooling, value, low, high,
            threshold, threshold_source, cases, prevalence``; ``low`` and ``high`` bound the 95 % bootstrap interval
            over subjects of pooled AUPRC and best Dice.
        per_case: A row a run, preset and case.
        curves: ``"<run>|<preset>|precision"`` (``recall``, ``thresholds``, ``dice``) -> ``(<= 512,)``.
        panels: One slice a lesion-bearing case, the one with most lesion.
    """

    table: pd.DataFrame
    per_case: pd.DataFrame
    curves: dict[str, NDArray[np.float64]]
    panels: list[Panel]

    def save(self, folder: Path) -> None:
        """Write ``table.csv``, ``per_case.csv``, ``curves.npz`` and ``panels.npz``."""
        write_bytes(folder / "per_case.csv", self.per_case.to_csv(index=False, float_format="%.6g").encode())
        content = io.BytesIO()
        np.savez_compressed(content, **self.curves)  # type: ignore[arg-type]
        write_bytes(folder / "curves.npz", content.getvalue())
        save_panels(folder / "panels.npz", self.panels)
        write_bytes(folder / "table.csv", self.table.to_csv(index=False, float_format="%.6g").encode())

    @classmethod
    def load(cls, folder: Path) -> ScoreTable:
        """Read what :meth:`save` wrote.

        Raises:
            ScoringError: A file is missing or damaged.
        """
        try:
            table, per_case = pd.read_csv(folder / "table.csv"), pd.read_csv(folder / "per_case.csv")
            with np.load(folder / "curves.npz", allow_pickle=False) as arrays:
                curves = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            msg = f"{folder}: expected the scores of a `semcycle score`, got missing or damaged files ({error}); score again"
            raise ScoringError(msg) from error
        return cls(table, per_case, curves, load_panels(folder / "panels.npz"))


@dataclass
class _Tally:
    """What is kept of one contestant and preset while the cases go by."""

    counts: dict[str, ScoreCounts] = field(default_factory=dict)
    l1: dict[str, tuple[float, float, int, int]] = field(default_factory=dict)


def evaluate(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_ids: Sequence[str],
    *,
    presets: Sequence[str] = ("literal", "baur"),
    progress: Callable[[str], None] = lambda case_id: None,
) -> ScoreTable:
    """Score contestants on test cases.

    Args:
        contestants: Trained or not; their names are unique.
        store: Slices with truth.
        case_ids: Test cases.
        presets: Post-processings, each with its own rows.
        progress: Called with every finished case.

    Raises:
        SplitError: A contestant has seen a test subject.
        ScoringError: No test case has a lesion, or two contestants share a name.
        StoreError: A case is unknown or damaged.
    """
    _check(contestants, store, case_ids)
    tallies = {(one.name, preset): _Tally() for one in contestants for preset in presets}
    panels = [
        panel for case in case_ids if (panel := _score_case(contestants, store, case, presets, tallies, progress))
    ]
    methods = {one.name: one.method for one in contestants}
    rows: list[dict[str, object]] = []
    cases: list[dict[str, object]] = []
    curves: dict[str, NDArray[np.float64]] = {}
    for (run, preset), tally in tallies.items():
        common = {"run": run, "method": methods[run], "preset": preset}
        pooled = sum(tally.counts.values(), ScoreCounts.empty())
        intervals = bootstrap_intervals([*tally.counts.values()], [store.subject(case) for case in tally.counts])
        rows += [common | row for row in _table_rows(tally, pooled, intervals)]
        cases += [common | row for row in _case_rows(tally, best_dice(pooled).threshold)]
        curves |= {f"{run}|{preset}|{name}": values for name, values in _thin_curve(pooled).items()}
    if not pooled.positives.sum():
        msg = (
            f"{store.folder}: expected a lesion in the test cases, got none in {len(case_ids)}; AUPRC and Dice need one"
        )
        raise ScoringError(msg)
    return ScoreTable(pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(cases), curves, panels)


def _check(contestants: Sequence[Contestant], store: SliceStore, case_ids: Sequence[str]) -> None:
    names = [one.name for one in contestants]
    if len(set(names)) < len(names):
        msg = f"expected contestants of different names, got {', '.join(names)}; rename a run's folder"
        raise ScoringError(msg)
    subjects = {store.subject(case) for case in case_ids}
    for one in contestants:
        shared = sorted(one.train_subjects & subjects)
        if shared:
            msg = (
                f"{one.name}: expected test subjects it has never seen, got {', '.join(shared[:5])} from its training; "
                "score it with the split it was trained with"
            )
            raise SplitError(msg)


def _score_case(
    contestants: Sequence[Contestant],
    store: SliceStore,
    case_id: str,
    presets: Sequence[str],
    tallies: dict[tuple[str, str], _Tally],
    progress: Callable[[str], None],
) -> Panel | None:
    """Count one case for everybody; returns the picture of its largest lesion slice, if it has a lesion."""
    case = store.load(case_id)
    x, brain, lesion = case.image.astype(np.float32), case.brain > 0, case.lesion > 0
    pixel_mm = float(store.settings["preprocess"]["pixel_mm"])
    region, healthy = brain | lesion, brain & ~lesion
    shown = int(lesion.sum(axis=(1, 2)).argmax())
    runs: dict[str, RunPanel] = {}
    for one in contestants:
        made = one.reconstruct(x, brain)
        difference = np.abs(x - made.image)
        sums = (float(difference[healthy].sum()), float(difference[lesion & brain].sum()))
        sizes = (int(healthy.sum()), int((lesion & brain).sum()))
        scores = {}
        for preset in presets:
            mapped = make_anomaly_map(x, made, brain, preset, pixel_mm)
            tally = tallies[one.name, preset]
            tally.counts[case_id] = count_scores(mapped.scores, lesion, region)
            tally.l1[case_id] = (*sums, *sizes)
            scores[preset] = mapped.scores[shown]
        untrained = one.method == "intensity"  # its black reconstruction is no picture
        part = None if made.tissue is None else made.tissue[shown]
        runs[one.name] = RunPanel(None if untrained else made.image[shown], part, scores)
    progress(case_id)
    if not lesion.any():
        return None
    return Panel(case_id, int(case.slice_index[shown]), x[shown], brain[shown], lesion[shown], runs)


def _table_rows(
    tally: _Tally, pooled: ScoreCounts, intervals: dict[str, tuple[float, float]]
) -> list[dict[str, object]]:
    """The summary rows of one contestant and preset."""
    bearing = [counts for counts in tally.counts.values() if counts.positives.sum()]
    oracle = best_dice(pooled)
    healthy, lesion, healthy_voxels, lesion_voxels = np.array(list(tally.l1.values())).sum(axis=0)
    mean_healthy = healthy / healthy_voxels if healthy_voxels else np.nan
    mean_lesion = lesion / lesion_voxels if lesion_voxels else np.nan
    ratio = mean_lesion / mean_healthy if mean_healthy else np.nan
    everything, with_lesion = len(tally.counts), len(bearing)

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    def row(metric: str, pooling: str, value: float, cases: int, threshold: float = np.nan) -> dict[str, object]:
        source = ORACLE if np.isfinite(threshold) else ""
        low, high = intervals[metric] if pooling == "pooled" and metric in intervals else (np.nan, np.nan)
        found = {"metric": metric, "pooling": pooling, "value": value, "low": low, "high": high, "cases": cases}
        return found | {"threshold": threshold, "threshold_source": source, "prevalence": prevalence(pooled)}

    return [
        row("auprc", "pooled", auprc(pooled), everything),
        row("auprc", "per_case_mean", mean([auprc(counts) for counts in bearing]), with_lesion),
        row("best_dice", "pooled", oracle.dice, everything, oracle.threshold),
        row(
            "dice_at_pooled_threshold",
            "per_case_mean",
            mean([dice_at(counts, oracle.threshold) for counts in bearing]),
            with_lesion,
            oracle.threshold,
        ),
        row("auroc", "pooled", auroc(pooled), everything),
        row("l1_healthy", "pooled", float(mean_healthy), everything),
        row("residual_ratio", "pooled", float(ratio), with_lesion),
    ]


def _case_rows(tally: _Tally, threshold: float) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for case_id, counts in tally.counts.items():
        healthy, lesion, healthy_voxels, lesion_voxels = tally.l1[case_id]
        rows.append(
            {
                "case": case_id,
                "auprc": auprc(counts),
                "dice_at_pooled_threshold": dice_at(counts, threshold),
                "best_dice": best_dice(counts).dice,
                "prevalence": prevalence(counts),
                "lesion_voxels": int(counts.positives.sum()),
                "l1_healthy": healthy / healthy_voxels if healthy_voxels else np.nan,
                "residual_ratio": (lesion / lesion_voxels) / (healthy / healthy_voxels)
                if lesion_voxels and healthy
                else np.nan,
            }
        )
    return rows


def _thin_curve(counts: ScoreCounts) -> dict[str, NDArray[np.float64]]:
    """At most ``CURVE_POINTS`` points of the pooled curves, spread evenly over the recall."""
    c = curve(counts)
    if not c.positives:
        return {}
    wanted = np.linspace(0, c.positives, CURVE_POINTS)
    index = np.unique(np.clip(np.searchsorted(c.true_positives, wanted), 0, len(c.thresholds) - 1))
    names = ("precision", "recall", "thresholds", "dice")
    return {name: np.asarray(getattr(c, name), float)[index] for name in names}
