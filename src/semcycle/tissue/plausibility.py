"""Do tissue maps look like a brain? Large tumours and thick slices mislead every unsupervised fit.

The plausible ranges come from SPM12's maps of 18 BraTS and 7 other T2 scans that were looked at one by one:
fits that were good had GM 0.37-0.6, WM 0.16-0.38 and CSF 0.12-0.23 of the brain, left less than a fifth
unexplained, and had WM darker than GM. CSF is not compared: in good maps of tightly stripped scans the dark rim of the
brain, which belongs to it, can pull its median below GM. SPM had a stand-in for its priors then, and six classes.

With its own priors and the brain's three classes alone (``--tissue spm`` today) a slice of each of the 18 BraTS cases
was looked at again. Two have lost WM and are flagged (GM 0.79 and 0.80). Twelve pass, one of them with a piece of WM
lost beside its tumour (2013_11_1), with GM 0.36-0.60, WM 0.20-0.41,
CSF 0.17-0.29 and 0.01 unexplained. Four look like brains, with more WM or outer CSF than the scan shows, and are
flagged for GM of 0.29-0.32. The ranges were left as they are: none of the good fits lies outside them.
"""

from __future__ import annotations

import numpy as np

from semcycle.types import TISSUES, SliceArray, SliceMask, TissueSlices

PLAUSIBLE = {"gm": (0.35, 0.65), "wm": (0.15, 0.50), "csf": (0.08, 0.35)}
"""Share of the lesion-free brain."""
MAX_UNEXPLAINED = 0.2


def tissue_quality(
    tissue: TissueSlices, image: SliceArray, brain: SliceMask, lesion: SliceMask
) -> tuple[dict[str, float], list[str]]:
    """Measure tissue maps against what brains look like, outside the lesions.

    Args:
        tissue: ``(S, 3, H, W)``.
        image: ``(S, H, W)`` T2 intensities.
        brain: ``(S, H, W)``.
        lesion: ``(S, H, W)``; its voxels are left out.

    Returns:
        Shares of the brain (``gm``, ``wm``, ``csf``, ``unexplained``) and median T2 of each tissue over the
        brain's median (``t2_gm`` ...), and a list of what is implausible, empty for good maps.
    """
    region = brain & ~lesion
    if not region.any():
        return {}, ["the brain is nothing but lesion"]
    inside = tissue.transpose(1, 0, 2, 3)[:, region]  # (3, N)
    values = image[region]
    shares = dict(zip(TISSUES, inside.mean(axis=1).round(4).tolist(), strict=True))
    unexplained = round(1 - sum(shares.values()), 4)
    winner = np.where(inside.max(axis=0) > 0.5, inside.argmax(axis=0), -1)
    median = max(float(np.median(values)), 1e-6)
    levels = {
        tissue: round(float(np.median(values[winner == index])) / median, 4) if (winner == index).any() else 0.0
        for index, tissue in enumerate(TISSUES)
    }
    flags = [
        f"{tissue.upper()} {shares[tissue]:.2f} of the brain (plausible: {low}-{high})"
        for tissue, (low, high) in PLAUSIBLE.items()
        if not low <= shares[tissue] <= high
    ]
    if unexplained > MAX_UNEXPLAINED:
        flags.append(f"{unexplained:.2f} of the brain is no tissue (plausible: below {MAX_UNEXPLAINED})")
    if not levels["wm"] < levels["gm"]:
        flags.append("WM not darker than GM on T2 ({wm:.2f}, {gm:.2f} of the brain's median)".format(**levels))
    return shares | {"unexplained": unexplained} | {f"t2_{name}": level for name, level in levels.items()}, flags
