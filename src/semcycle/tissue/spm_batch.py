"""What SPM is told: the script that segments one scan, and the command line that runs a script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import numpy as np

from semcycle.errors import TissueError
from semcycle.preprocess.brain_mask import find_background
from semcycle.volume import Volume

Kind = Literal["matlab", "octave", "standalone"]

CHANNEL = {"biasreg": "0.001", "biasfwhm": "60", "write": "[0 0]"}
NGAUS = (1, 1, 2, 3, 4, 2)
"""Gaussians of GM, WM, CSF, bone, soft tissue and air."""
BRAIN_CLASSES = 3
"""Of a stripped scan: bone and soft tissue have no voxels of their own there and take those of the brain."""
WARP = {"mrf": "1", "cleanup": "1", "reg": "[0 0.001 0.5 0.05 0.2]", "affreg": "'mni'", "fwhm": "0", "write": "[0 0]"}
SAMPLING_MM = (3.0, 3.5, 4.0, 5.0, 6.0)
"""SPM's default first; the next ones for scans that it would sample with more than ``MAX_POINTS``."""
MAX_POINTS = 64
"""Along the longest axis: with more, SPM's warp can become NaN, and SPM then writes maps that are nearly all CSF."""

_SPM_OR_END = "if isempty(which('spm')), fprintf('semcycle: no spm\\n'); error('SPM is not on the path'); end"


def command_line(arguments: list[str], kind: Kind, script: Path) -> list[str]:
    """Complete the command with what makes this kind of SPM run a script and end with an exit code."""
    if kind == "octave":
        return [*arguments, str(script)]
    if kind == "standalone":
        return [*arguments, *(() if arguments[-1] == "script" else ("script",)), str(script)]
    flag = () if arguments[-1] in ("-batch", "-r") else ("-batch",)
    # -r neither ends MATLAB nor reports an error by itself
    statement = f"try, run({quote(script)}), catch e, disp(getReport(e)), exit(1), end, exit(0)"
    return [*arguments, *flag, statement]


def write_query() -> str:
    """The script that asks MATLAB, Octave or the standalone for the folder of its SPM."""
    return f"{_SPM_OR_END}\nfprintf('semcycle: spm %s\\n', fileparts(which('spm')));\n"


def write_batch(scan: Path, kind: Kind, spm_dir: Path | None, samp: float, classes: int = len(NGAUS)) -> str:
    """The script that segments one scan, in the language that MATLAB and Octave share.

    Args:
        scan: Uncompressed NIfTI file; the maps are written beside it as ``c1``, ``c2``, ``c3`` and its name.
        kind: Octave has no batch system and calls the segmentation directly, with the same job.
        spm_dir: Put on the interpreter's path unless ``None``.
        samp: Distance between sampled points in mm.
        classes: How many of SPM's tissues are fitted: all of them, or ``BRAIN_CLASSES``.

    Returns:
        Statements only: the standalone evaluates the text and allows no functions in it.
    """
    lines = [] if spm_dir is None or kind == "standalone" else [f"addpath({quote(spm_dir)});"]
    lines += [
        _SPM_OR_END,
        "tpm = fullfile(fileparts(which('spm')), 'tpm', 'TPM.nii');",
        "if ~exist(tpm, 'file'), fprintf('semcycle: no tpm %s\\n', tpm); error('TPM.nii is missing'); end",
        f"job.channel.vols = {{{quote(f'{scan},1')}}};",
        *(f"job.channel.{key} = {value};" for key, value in CHANNEL.items()),
        f"ngaus = {list_gaussians(classes)};",
        f"for k = 1:{classes}",
        "  job.tissue(k).tpm = {sprintf('%s,%d', tpm, k)};",
        "  job.tissue(k).ngaus = ngaus(k);",
        "  job.tissue(k).native = [double(k <= 3) 0];",
        "  job.tissue(k).warped = [0 0];",
        "end",
        *(f"job.warp.{key} = {value};" for key, value in WARP.items()),
        f"job.warp.samp = {samp:g};",
    ]
    if kind == "octave":
        lines += ["spm_preproc_run(job);"]
    else:
        lines += [
            "spm('defaults', 'fmri');",
            "spm_jobman('initcfg');",
            "spm_get_defaults('cmdline', true);",
            "matlabbatch{1}.spm.spatial.preproc = job;",
            "spm_jobman('run', matlabbatch);",
        ]
    lines += [
        f"fit = load({quote(scan.with_name(f'{scan.stem}_seg8.mat'))});",
        "fprintf('semcycle: ll %g finite %d\\n', fit.ll(1), all(isfinite(fit.ll(:))));",
    ]
    return "\n".join(lines) + "\n"


def list_gaussians(classes: int) -> str:
    """Gaussians of the first tissues, as the script has them."""
    return f"[{' '.join(map(str, NGAUS[:classes]))}]"


def foreground_box(volume: Volume) -> tuple[slice, slice, slice]:
    """Bounding box of all that is brighter than the background, two voxels wider where the scan has them."""
    foreground = volume.data > find_background(volume).level
    if not foreground.any():
        foreground = np.ones(volume.shape, bool)
    i, j, k = (
        slice(max(int(axis.min()) - 2, 0), min(int(axis.max()) + 3, size))
        for axis, size in zip(np.nonzero(foreground), volume.shape, strict=True)
    )
    return i, j, k


def sampling_mm(crop: Volume) -> float:
    """SPM's ``samp`` for a cropped scan: 3 mm, or the next that keeps the sampled grid at ``MAX_POINTS`` an axis.

    At 1 mm this is 3 up to 192 voxels and 3.5 up to 256.
    """
    spacing, shape = np.array(crop.spacing), np.array(crop.shape)
    for samp in SAMPLING_MM:
        step = np.maximum(np.floor(samp / spacing + 0.5), 1)  # as spm_preproc8 rounds it to voxels
        if np.ceil(shape / step).max() <= MAX_POINTS:
            return samp
    return SAMPLING_MM[-1]


def check_folder(folder: Path, named_by: str) -> None:
    """Refuse a folder that the script cannot name: MATLAB and Octave split paths at colons.

    Args:
        folder: SPM's own.
        named_by: The option or variable that it came from.

    Raises:
        TissueError: Its path cannot be used, or it is not SPM's.
    """
    if os.pathsep in str(folder) or not str(folder).isprintable():
        msg = (
            f"{str(folder)!r}: expected a path without {os.pathsep!r} and line breaks, which MATLAB and Octave cannot "
            f"read; link SPM's folder under another name and correct {named_by}"
        )
        raise TissueError(msg)
    if not (folder / "spm.m").is_file():
        msg = f"{folder}: expected SPM's folder with spm.m, found none; correct {named_by}"
        raise TissueError(msg)
    if not (folder / "tpm" / "TPM.nii").is_file():
        msg = f"{folder}: expected SPM's tpm/TPM.nii, found none; it comes with SPM: copy it there"
        raise TissueError(msg)


def quote(text: Path | str) -> str:
    """A string of MATLAB and Octave."""
    doubled = str(text).replace("'", "''")
    return f"'{doubled}'"
