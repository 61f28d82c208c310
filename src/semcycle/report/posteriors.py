"""Figure 4 of the paper: which tissue S sees in the voxels of each tissue, and in those of the lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from semcycle.methods.base import Reconstructed
from semcycle.report.canvas import STYLE, TISSUE_COLOURS, make_figure
from semcycle.store.slice_store import SliceStore
from semcycle.types import TISSUES, SliceArray, SliceMask


def mean_posteriors(
    reconstruct: Callable[[SliceArray, SliceMask], Reconstructed], store: SliceStore, cases: Sequence[str]
) -> pd.DataFrame:
    """Mean of S's GM, WM and CSF over the voxels of every class, pooled over cases.

    The class of a voxel is the most probable tissue of the store's maps, none where background is more probable (A9);
    lesion voxels are a class of their own and are not counted in the tissues. Cases whose maps the store calls
    implausible count with their lesions only, as do those of a store without maps.

    Returns:
        Index ``GM, WM, CSF, lesion``, columns ``GM, WM, CSF`` (NaN without a voxel) and ``voxels``.
    """
    sums, counts = np.zeros((4, 3)), np.zeros(4)
    for name in cases:
        case = store.load(name)
        brain, lesion = case.brain > 0, case.lesion > 0
        reconstructed = reconstruct(case.image.astype(np.float32), brain)
        if reconstructed.tissue is None:
            continue
        kinds = np.full(brain.shape, -1)
        if case.tissue is not None and not store.summary(name)["flags"]:
            maps = np.asarray(case.tissue)
            background = 255 - maps.sum(axis=1, dtype=np.int32)
            kinds = np.where(brain & (maps.max(axis=1) > background), maps.argmax(axis=1), -1)
        kinds = np.where(lesion & brain, 3, kinds)
        posterior = reconstructed.tissue.transpose(0, 2, 3, 1)
        for kind in range(4):
            chosen = kinds == kind
            sums[kind] += posterior[chosen].sum(axis=0)
            counts[kind] += chosen.sum()
    means = sums / np.where(counts, counts, np.nan)[:, None]
    labels = [tissue.upper() for tissue in TISSUES]
    frame = pd.DataFrame(means, index=[*labels, "lesion"], columns=labels)
    return frame.assign(voxels=counts.astype(int))


def posterior_figure(frames: dict[str, pd.DataFrame]) -> Figure:
    """Draw grouped bars, a panel a data set: a group a class, a bar a tissue.

    Args:
        frames: Data set -> :func:`mean_posteriors`.
    """
    with mpl.rc_context(STYLE):
        figure = make_figure(4.6 * len(frames) + 0.4, 3.4, "#ffffff")
        panels = figure.subplots(1, len(frames), sharey=True, squeeze=False)[0]
        for axes, (name, frame) in zip(panels, frames.items(), strict=True):
            for place, (tissue, colour) in enumerate(TISSUE_COLOURS.items()):
                where = np.arange(len(frame)) + (place - 1) * 0.26
                axes.bar(where, frame[tissue], 0.24, color=colour, edgecolor="#1c2430", linewidth=0.6, label=tissue)
            axes.set_xticks(range(len(frame)), frame.index)
            axes.set(ylim=(0, 1), xlabel="voxels of")
            axes.set_title(name, loc="left", fontsize=10, fontweight="bold")
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        panels[0].set_ylabel("mean posterior of S")
        panels[-1].legend(frameon=False, fontsize=8.5)
        figure.tight_layout()
    return figure
