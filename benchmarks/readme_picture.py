"""Draw the README's picture: some slices of one test case, what a run makes of them, and the expert's outline.

python benchmarks/readme_picture.py RUN STORE CASE SLICE [SLICE ...] --out docs/images/brats-panels
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.report.canvas import save_figure
from semcycle.report.figures import panel_figure
from semcycle.scoring.panels import Panel, RunPanel
from semcycle.store.slice_store import SliceStore, voxel_size
from semcycle.training.checkpoint import load_checkpoint


def main() -> None:
    """Read the arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("case")
    parser.add_argument("slices", type=int, nargs="+", help="indices from the foot")
    parser.add_argument("--preset", default="baur")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--dpi", type=int, default=88)
    options = parser.parse_args()

    case = SliceStore(options.store).load(options.case)
    checkpoint = load_checkpoint(options.run)
    x, brain, lesion = case.image.astype(np.float32), case.brain > 0, case.lesion > 0
    made = reconstruct_slices(checkpoint.method, x, brain)
    mapped = make_anomaly_map(x, made, brain, options.preset, voxel_size(case.record), quantiles=case.quantiles)
    panels = []
    for index in options.slices:
        at = int(np.flatnonzero(case.slice_index == index)[0])
        part = None if made.tissue is None else made.tissue[at]
        run = RunPanel(made.image[at], part, {options.preset: mapped[at]})
        panels.append(Panel(options.case, index, x[at], brain[at], lesion[at], {checkpoint.recipe.name: run}))
    for path in save_figure(panel_figure(panels, preset=options.preset), options.out, dpi=options.dpi):
        print(path)


if __name__ == "__main__":
    main()
