"""Tables: scores as CSV, Markdown, LaTeX and for the terminal, rounded and marked alike everywhere."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.policies import POLICIES

DIGITS = 3
"""Digits after the point of every score in a table for people; CSV keeps more."""

MISSING = "–"
_HIDDEN_CASES = (
    *("sensitivity_", "precision_", "recall_", "greedy_", "auprc_trapezoid", "best_iou", "dice_at_fpr_"),
    *("lesions_", "lesion_sensitivity", "lesion_precision", "components_", "assd_mm"),
)


@dataclass(frozen=True)
class MetricText:
    """How a metric is named and explained.

    Attributes:
        label: Column heading.
        meaning: One or two sentences for a reader who does not know it.
        higher_is_better: Its direction; ``None`` where neither is better.
    """

    label: str
    meaning: str
    higher_is_better: bool | None = True


METRICS = {
    "auprc": MetricText(
        "AUPRC",
        "Area under the precision-recall curve, step-wise (average precision), over the voxels of all test cases "
        "together, inside the brain, with and without lesion. A random score reaches the prevalence.",
    ),
    "mean_auprc": MetricText(
        "mean AUPRC",
        "The same area computed for each case and averaged over the cases: a large lesion counts no more than a "
        "small one.",
    ),
    "best_dice": MetricText(
        "best Dice",
        "The highest Dice that one threshold reaches over all test cases. The threshold is an oracle: it is chosen "
        "with the test labels and cannot be known in use, so this is an upper bound and not a performance.",
    ),
    "mean_best_dice": MetricText(
        "mean best Dice", "The best Dice with each case's own oracle threshold, averaged over the cases."
    ),
    "auroc": MetricText(
        "AUROC",
        "Area under the ROC curve: the chance that a lesion voxel scores higher than a healthy one. It is lenient "
        "where lesions are rare.",
    ),
    "best_iou": MetricText(
        "best IoU", "Intersection over union at the threshold of the best Dice: an upper bound too."
    ),
    "greedy_dice": MetricText(
        "greedy Dice",
        "The best Dice as the field's most used code searches it, for comparison with published numbers; it can miss "
        "the best.",
    ),
    **{
        f"sensitivity_at_fpr_{rate}": MetricText(
            f"sensitivity at {rate} % FPR",
            f"Share of the lesion found when {rate} % of the other voxels are called lesion.",
        )
        for rate in (1, 2, 5)
    },
    **{
        f"{mean}dice_at_{rule}": MetricText(f"{label} at {where}", f"Dice at {meaning}{over}.")
        for rule, where, meaning in (
            (
                "validation",
                "validation threshold",
                "the threshold that is best on validation cases, as a user could set it",
            ),
            *(
                (
                    f"healthy_{rate}",
                    f"{rate} % healthy FPR",
                    f"the threshold that {rate} % of the voxels of other, healthy slices reach",
                )
                for rate in (1, 2, 5)
            ),
            (
                "oracle",
                "pooled oracle",
                "the one threshold that is best for all test cases together; an oracle threshold",
            ),
            *(
                (
                    f"fpr_{rate}",
                    f"{rate} % FPR",
                    f"the threshold that {rate} % of the healthy voxels of the test cases reach; an oracle threshold",
                )
                for rate in (1, 2, 5)
            ),
        )
        for mean, label, over in (("", "Dice", ""), ("mean_", "mean Dice", ", of each case, averaged over the cases"))
    },
    **{
        f"{name}_at_{rule}": MetricText(f"{label} at {where}", meaning, better)
        for rule, where in (
            ("validation", "validation threshold"),
            ("healthy_1", "1 % healthy FPR"),
            ("oracle", "pooled oracle"),
        )
        for name, label, meaning, better in (
            ("lesion_sensitivity", "lesions found", "Share of the lesions that a called component touches.", True),
            ("lesion_precision", "true components", "Share of the called components that touch a lesion.", True),
            ("false_positives_per_scan", "false alarms", "Called components a scan that touch no lesion.", False),
        )
    },
    "l1_healthy": MetricText(
        "L1 healthy", "Mean absolute reconstruction error in healthy brain; intensities run from 0 to 1.", False
    ),
    "residual_ratio": MetricText(
        "residual ratio", "Mean anomaly score within lesions over that in healthy brain; 1 means blind."
    ),
    "prevalence": MetricText("prevalence", "Lesion voxels as a fraction of the brain's voxels.", None),
}
"""Metric -> its text. A mean over cases of metric ``m`` is ``mean_m``."""

SUMMARY = ("auprc", "mean_auprc", "best_dice", "dice_at_validation", "dice_at_healthy_1")
"""What a reader sees first; columns that no run has are left out."""
POOLED = "pooled"
OTHER_POLICIES = tuple(name for name in POLICIES if name not in (POOLED, "per_case_mean"))
"""Policies whose rows stand in ``table.csv`` only."""


def metric_key(metric: str, pooling: str) -> str:
    """Name of a metric with its pooling.

    ``auprc`` for all voxels together, ``mean_auprc`` for a mean over cases, ``auprc of lesion_slices`` for other policies.
    """
    if pooling in OTHER_POLICIES:
        return f"{metric} of {pooling}"
    over_cases = pooling != POOLED and f"mean_{metric}" in METRICS
    return f"mean_{metric}" if over_cases else metric


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a page has room for: metrics that ``METRICS`` explains, over all voxels and as means over cases."""
    keys = [metric_key(str(m), str(p)) for m, p in zip(table["metric"], table["pooling"], strict=True)]
    means = table["pooling"] != POOLED
    known = [key in METRICS and (not mean or key.startswith("mean_")) for key, mean in zip(keys, means, strict=True)]
    return table[known]


def metric_text(key: str) -> MetricText:
    """Text of a metric; one without an entry in ``METRICS`` gets its name as label and no direction."""
    return METRICS.get(key, MetricText(key.replace("_", " "), "", None))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the tidy score table into one row a run and one column a headline metric and preset.

    Args:
        table: Rows of ``run, preset, metric, pooling, value``.

    Returns:
        Index ``run`` in order of appearance; columns such as ``"AUPRC (literal)"``, grouped by preset.

    Raises:
        ScoringError: A column is missing.
    """
    tidy = check_table(table)
    keys = [metric_key(str(m), str(p)) for m, p in zip(tidy["metric"], tidy["pooling"], strict=True)]
    tidy = tidy.assign(key=keys)
    tidy = tidy[tidy["key"].isin(SUMMARY)]
    columns = {}
    for preset in dict.fromkeys(table["preset"]):
        for key in SUMMARY:
            rows = tidy[(tidy["preset"] == preset) & (tidy["key"] == key)].drop_duplicates("run")
            if len(rows):
                columns[f"{METRICS[key].label} ({preset})"] = rows.set_index("run")["value"].astype(float)
    runs = pd.Index(list(dict.fromkeys(table["run"])), name="run")
    return pd.DataFrame({name: column.reindex(runs) for name, column in columns.items()}, index=runs)


def main_columns(per_case: pd.DataFrame) -> pd.DataFrame:
    """The columns of the per-case table that a page has room for."""
    return per_case[[name for name in per_case if not str(name).startswith(_HIDDEN_CASES)]]


def check_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table if it has the tidy columns that every report needs.

    Raises:
        ScoringError: It has not.
    """
    missing = [name for name in ("run", "preset", "metric", "pooling", "value") if name not in table]
    if missing:
        msg = f"score table: expected columns run, preset, metric, pooling, value, got none named {missing[0]!r}; score again"
        raise ScoringError(msg)
    return table


def format_value(value: object, digits: int = DIGITS) -> str:
    """Round a cell for people: floats to ``digits``, whole numbers and words as they are, missing values as a dash."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return MISSING
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}"
    return str(value)


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Where a column holds its highest value as printed (ties are all marked); columns of one value have none.

    Returns:
        Bool, of the frame's shape.
    """
    marks = pd.DataFrame(False, index=frame.index, columns=frame.columns)
    for name in frame.columns:
        column = pd.to_numeric(frame[name], errors="coerce").round(DIGITS)
        if column.notna().sum() > 1:
            marks[name] = (column == column.max()).to_numpy()
    return marks


def to_csv_text(frame: pd.DataFrame) -> str:
    """CSV with a header line, six digits after the point, empty cells for missing values."""
    return str(frame.to_csv(float_format="%.6f", lineterminator="\n"))


def to_markdown_text(frame: pd.DataFrame) -> str:
    """GitHub Markdown; the best value of a column is bold."""
    lines = _render(frame, lambda text: text.replace("\\", "\\\\").replace("|", "\\|"), lambda text: f"**{text}**")
    rule = ["---", *["---:"] * len(frame.columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]]) + "\n"


def to_latex_text(frame: pd.DataFrame) -> str:
    """A ``tabular`` for the ``booktabs`` package; the best value of a column is bold."""
    lines = _render(frame, _escape_latex, lambda text: rf"\textbf{{{text}}}")
    rows = [" & ".join(line) + r" \\" for line in lines]
    head = rf"\begin{{tabular}}{{l{'r' * len(frame.columns)}}}"
    return "\n".join([head, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def terminal_table(frame: pd.DataFrame, title: str | None = None) -> Table:
    """Make a table for a terminal; the best value of a column is bold and green."""
    table = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column(str(frame.index.name or ""), overflow="fold")
    for name in frame.columns:
        table.add_column(Text(str(name).replace(" (", "\n(")), justify="right", overflow="fold")
    marks = best_cells(frame)
    for row, (label, values) in enumerate(frame.iterrows()):
        cells = [
            Text(format_value(value), style="bold green" if marks.iloc[row, column] else "")
            for column, value in enumerate(values)
        ]
        table.add_row(Text(str(label)), *cells)
    return table


def by_preset(wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split a :func:`summary` into a narrower table for each preset, for a terminal: ``AUPRC (baur)`` -> ``AUPRC``."""
    found: dict[str, dict[str, pd.Series]] = {}
    for name in wide.columns:
        label, _, preset = str(name).removesuffix(")").rpartition(" (")
        found.setdefault(preset, {})[label] = wide[name]
    return {preset: pd.DataFrame(columns, index=wide.index) for preset, columns in found.items()}


def _render(frame: pd.DataFrame, escape: Callable[[str], str], mark: Callable[[str], str]) -> list[list[str]]:
    """Header and rows as text, escaped, the best values marked."""
    marks = best_cells(frame).to_numpy()
    lines = [[escape(str(name)) for name in (frame.index.name or "", *frame.columns)]]
    for row, (label, values) in enumerate(frame.iterrows()):
        cells = [escape(format_value(value)) for value in values]
        cells = [mark(cell) if marks[row, column] else cell for column, cell in enumerate(cells)]
        lines.append([escape(str(label)), *cells])
    return lines


def _escape_latex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", MISSING: "--"}
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(signs.get(letter, letter) for letter in text)
