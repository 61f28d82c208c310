"""Figures 2 and 3 of `semcycle paper` for chosen cases only, small enough for the docs.

    python benchmarks/results_pictures.py PAPER/scores/brats docs/results/brats --case Brats18_TCIA02_606_1

Pictures of patients may be published for some cases of a collection and not for others; name those whose licence allows
it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semcycle.report.canvas import save_figure
from semcycle.report.figures import panel_figure
from semcycle.scoring.table import ScoreTable
from semcycle.studies.paper_figures import figure_2_parts, first_seeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scores", type=Path, help="folder of scores with panels.npz")
    parser.add_argument("stem", type=Path, help="beginning of the files' names")
    parser.add_argument("--case", action="append", required=True, help="repeatable")
    parser.add_argument("--dpi", type=int, default=75)
    parser.add_argument("--columns", type=int, default=5, help="methods in a picture of figure 3")
    options = parser.parse_args()
    panels = [panel for panel in ScoreTable.load(options.scores).panels if panel.case_id in options.case]
    parts = figure_2_parts(panels)
    figures = {}
    if parts:
        figures["figure2"] = panel_figure(panels, preset="literal", runs=list(parts), parts=parts)
    runs = first_seeds(panels)
    for number, start in enumerate(range(0, len(runs), options.columns), 1):
        figures[f"figure3-{number}"] = panel_figure(
            panels, preset="literal", runs=runs[start : start + options.columns], parts=("reconstruction", "anomaly")
        )
    for name, figure in figures.items():
        for path in save_figure(figure, options.stem.with_name(f"{options.stem.name}-{name}"), dpi=options.dpi):
            print(path, f"{path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
