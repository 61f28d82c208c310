"""Tissue provider ``spm``: SPM's unified segmentation of the T2, run in MATLAB, Octave or as the standalone.

What was run: the batch and the parsing are tested with a stand-in; the Octave route was run with these settings
outside this project's tests; MATLAB and the standalone were not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from semcycle.cohorts.base import Case
from semcycle.errors import GeometryError, TissueError, VolumeError
from semcycle.preprocess.brain_mask import find_background
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.types import VoxelArray, VoxelMask
from semcycle.volume import Volume, load_like, make_volume, save_volume

Kind = Literal["matlab", "octave", "standalone"]

COMMAND_VARIABLE = "SEMCYCLE_SPM_COMMAND"
FOLDER_VARIABLE = "SEMCYCLE_SPM_DIR"
INTERPRETERS = ("matlab", "octave-cli", "octave")
STANDALONES = ("spm12", "spm25")

CHANNEL = {"biasreg": "0.001", "biasfwhm": "60", "write": "[0 0]"}
NGAUS = "[1 1 2 3 4 2]"
WARP = {"mrf": "1", "cleanup": "1", "reg": "[0 0.001 0.5 0.05 0.2]", "affreg": "'mni'", "fwhm": "0", "write": "[0 0]"}
SAMPLING_MM = (3.0, 3.5, 4.0, 5.0, 6.0)
"""SPM's default first; the next ones for scans that it would sample with more than ``MAX_POINTS``."""
MAX_POINTS = 64
"""Along the longest axis: with more, SPM's warp can become NaN, and SPM then writes maps that are nearly all CSF."""

_LICENCE = re.compile(
    r"licen[sc](e|ing)\b.*(fail|error|expired|invalid|denied|not found|unable|checkout)"
    r"|(fail|error|expired|invalid|unable|could not|no valid).*licen[sc]",
    re.IGNORECASE,
)


def find_spm(folder: Path | None = None) -> SpmSegmentation:
    """Make the provider from ``--tissue-dir`` and the environment.

    ``SEMCYCLE_SPM_COMMAND`` says how SPM is started (``matlab -batch``, ``octave-cli --no-gui``, or
    ``run_spm12.sh MCR-FOLDER script`` for the standalone); without it the first of ``matlab``, ``octave-cli``,
    ``octave``, ``spm12`` and ``spm25`` on PATH is taken.

    Args:
        folder: SPM's own folder, with ``spm.m`` and ``tpm/TPM.nii``. ``None``: that of ``SEMCYCLE_SPM_DIR``, and
            without it the SPM that the interpreter knows.

    Raises:
        TissueError: SPM, its ``TPM.nii`` or the program that runs it was not found.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if folder is None and named:
        folder = Path(named)
    return SpmSegmentation(os.environ.get(COMMAND_VARIABLE) or None, folder)


class SpmSegmentation:
    """Runs SPM12 or SPM25 on every scan, in a temporary folder, and reads GM, WM and CSF back on the scan's grid.

    SPM's settings are its defaults. It sees the scan cropped to what is not background. It knows of no lesions:
    large ones bend the fit, see ``docs/tissue-maps.md``.

    Args:
        command: How SPM is started, split as a shell does; ``None`` looks on PATH.
        spm_dir: SPM's folder; not used by the standalone, which brings its own.
        timeout_s: Seconds after which a scan's run is ended.

    Raises:
        TissueError: SPM, its ``TPM.nii`` or the program that runs it was not found.
    """

    def __init__(self, command: str | None = None, spm_dir: Path | None = None, timeout_s: float = 3600) -> None:
        if spm_dir is not None:
            spm_dir = spm_dir.absolute()  # SPM runs in another folder
        self.arguments = _split_command(command) if command else _search_path(spm_dir)
        self.kind = _kind_of(self.arguments)
        self.spm_dir = None if self.kind == "standalone" else spm_dir
        self.timeout_s = timeout_s
        if self.spm_dir is not None:
            _check_folder(self.spm_dir)

    def maps(
        self, case: Case, volume: Volume, brain: VoxelMask | None = None, lesion: VoxelMask | None = None
    ) -> TissueMaps:
        """Tissue maps of a scan; the masks ``(I, J, K)`` are not used, SPM finds the brain itself.

        Raises:
            TissueError: SPM could not be run, failed, or wrote maps that are none.
        """
        box = foreground_box(volume)
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
        crop = make_volume(volume.data[box], affine, volume.source)
        with tempfile.TemporaryDirectory(prefix="semcycle-spm-") as name:
            folder = Path(name)
            scan = folder / "scan.nii"  # SPM reads no .gz
            save_volume(scan, crop.data, crop)
            script = folder / "semcycle_spm.m"
            batch = write_batch(scan, self.kind, self.spm_dir, sampling_mm(crop))
            script.write_text(batch, encoding="utf-8")
            text, code = self._run(script, volume.source)
            parse_output(text, code, volume.source)
            maps = np.zeros((3, *volume.shape), np.float32)
            for index, tissue in enumerate(("GM", "WM", "CSF")):
                maps[(index, *box)] = _read_map(folder / f"c{index + 1}scan.nii", crop, tissue, text)
        return make_tissue_maps(maps[0], maps[1], maps[2], f"{volume.source} (SPM)")

    def describe(self) -> dict[str, str]:
        """Provider, version of SPM where its folder tells it, and settings."""
        settings = {"ngaus": NGAUS} | {key: value for key, value in (CHANNEL | WARP).items() if key != "write"}
        listed = ", ".join(f"{key} {value}" for key, value in settings.items())
        sampling = f"samp {SAMPLING_MM[0]:g}, coarser above {MAX_POINTS} points an axis"
        return {"provider": "spm", "version": _version(self.spm_dir), "settings": f"{listed}, {sampling}"}

    def files(self, case: Case) -> list[Path]:
        """None: the maps depend on the scan alone."""
        return []

    def _run(self, script: Path, source: str) -> tuple[str, int]:
        """Start SPM with the script and return all it printed and its exit code."""
        try:
            with subprocess.Popen(
                command_line(self.arguments, self.kind, script),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=script.parent,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            ) as process:
                try:
                    text, _ = process.communicate(timeout=self.timeout_s)
                except BaseException:
                    _end(process)
                    raise
                return text, process.returncode
        except subprocess.TimeoutExpired:
            msg = (
                f"{source}: expected SPM to be done within {self.timeout_s:g} s, got no end and stopped it; use fewer "
                "--workers, or segment elsewhere and give the maps with --tissue maps"
            )
            raise TissueError(msg) from None
        except OSError as error:
            msg = (
                f"{self.arguments[0]}: expected a program that runs SPM, got {error.strerror or error}; correct "
                f"{COMMAND_VARIABLE}"
            )
            raise TissueError(msg) from error


def command_line(arguments: list[str], kind: Kind, script: Path) -> list[str]:
    """Complete the command with what makes this kind of SPM run a script and end with an exit code."""
    if kind == "octave":
        return [*arguments, str(script)]
    if kind == "standalone":
        return [*arguments, *(() if arguments[-1] == "script" else ("script",)), str(script)]
    flag = () if arguments[-1] in ("-batch", "-r") else ("-batch",)
    # -r neither ends MATLAB nor reports an error by itself
    statement = f"try, run({_quote(script)}), catch e, disp(getReport(e)), exit(1), end, exit(0)"
    return [*arguments, *flag, statement]


def write_batch(scan: Path, kind: Kind, spm_dir: Path | None, samp: float) -> str:
    """The script that segments one scan, in the language that MATLAB and Octave share.

    Args:
        scan: Uncompressed NIfTI file; the maps are written beside it as ``c1``, ``c2``, ``c3`` and its name.
        kind: Octave has no batch system and calls the segmentation directly, with the same job.
        spm_dir: Put on the interpreter's path unless ``None``.
        samp: Distance between sampled points in mm.

    Returns:
        Statements only: the standalone evaluates the text and allows no functions in it.
    """
    lines = [] if spm_dir is None or kind == "standalone" else [f"addpath({_quote(spm_dir)});"]
    lines += [
        "if isempty(which('spm')), fprintf('semcycle: no spm\\n'); error('SPM is not on the path'); end",
        "tpm = fullfile(fileparts(which('spm')), 'tpm', 'TPM.nii');",
        "if ~exist(tpm, 'file'), fprintf('semcycle: no tpm %s\\n', tpm); error('TPM.nii is missing'); end",
        f"job.channel.vols = {{{_quote(f'{scan},1')}}};",
        *(f"job.channel.{key} = {value};" for key, value in CHANNEL.items()),
        f"ngaus = {NGAUS};",
        "for k = 1:6",
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
        f"fit = load({_quote(scan.with_name(f'{scan.stem}_seg8.mat'))});",
        "fprintf('semcycle: ll %g finite %d\\n', fit.ll(1), all(isfinite(fit.ll(:))));",
    ]
    return "\n".join(lines) + "\n"


def parse_output(text: str, code: int, source: str) -> float:
    """Turn what SPM printed and its exit code into its log-likelihood, or an error.

    Args:
        text: Standard output and error together.
        code: Exit code; negative when a signal ended it.
        source: The scan, for messages.

    Raises:
        TissueError: No SPM, no ``TPM.nii``, no licence, a crash, or a fit that diverged.
    """
    if re.search(r"^semcycle: no spm", text, re.MULTILINE):
        msg = (
            f"{source}: expected SPM on the path of MATLAB or Octave, found none; give its folder with --tissue-dir "
            f"or {FOLDER_VARIABLE}"
        )
        raise TissueError(msg)
    if missing := re.search(r"^semcycle: no tpm (.*)$", text, re.MULTILINE):
        msg = f"{source}: expected SPM's {missing[1]}, found none; it comes with SPM: copy it there"
        raise TissueError(msg)
    found = re.search(r"^semcycle: ll (\S+) finite ([01])", text, re.MULTILINE)
    if code != 0 or not found:
        licence = next((line.strip() for line in text.splitlines() if _LICENCE.search(line)), None)
        if licence:
            msg = (
                f"{source}: expected a MATLAB licence, got {licence!r}; free or renew one, use fewer --workers, or run "
                f"SPM in Octave or as the standalone ({COMMAND_VARIABLE})"
            )
            raise TissueError(msg)
    if code != 0:
        memory = "; it may have run out of memory: use fewer --workers" if code in (-9, 137) else ""
        msg = (
            f"{source}: expected SPM to succeed, got exit code {code} ({_last_lines(text)}); mend what it names{memory}"
        )
        raise TissueError(msg)
    if not found:
        msg = (
            f"{source}: expected SPM to report its fit, got none though it ended well ({_last_lines(text)}); check "
            "that "
            f"{COMMAND_VARIABLE} runs a script"
        )
        raise TissueError(msg)
    if found[2] == "0":
        msg = (
            f"{source}: expected a finite log-likelihood from SPM, got {found[1]}: the fit diverged; check orientation "
            "and origin in the scan's header, or give other maps with --tissue maps"
        )
        raise TissueError(msg)
    return float(found[1])


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


def _read_map(path: Path, crop: Volume, tissue: str, text: str) -> VoxelArray:
    if not path.is_file():
        msg = (
            f"{crop.source}: expected SPM to write {path.name}, found none though it ended well ({_last_lines(text)}); "
            "is the disk for temporary files full?"
        )
        raise TissueError(msg)
    try:
        return load_like(path, crop, f"{tissue} map")
    except (VolumeError, GeometryError) as error:
        msg = (
            f"{crop.source}: expected a usable {tissue} map from SPM, got a damaged one ({error}); check orientation "
            "and origin in the scan's header, or give other maps with --tissue maps"
        )
        raise TissueError(msg) from error


def _split_command(command: str) -> list[str]:
    try:
        program, *rest = shlex.split(command)
    except ValueError as error:
        msg = f"expected a command that starts SPM, got {command!r} ({error}); correct {COMMAND_VARIABLE}"
        raise TissueError(msg) from error
    found = shutil.which(program)
    if found is None:
        msg = f"expected the program {program!r} to run SPM, found none; install it or correct {COMMAND_VARIABLE}"
        raise TissueError(msg)
    return [str(Path(found).absolute()), *rest]


def _search_path(spm_dir: Path | None) -> list[str]:
    """The first program on PATH that can run SPM; a folder of SPM needs an interpreter, not the standalone."""
    names = INTERPRETERS if spm_dir is not None else INTERPRETERS + STANDALONES
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        msg = (
            f"expected one of {', '.join(names)} on PATH to run SPM, found none; install one, or say how SPM is "
            "started "
            f"in {COMMAND_VARIABLE}"
        )
        raise TissueError(msg)
    program = str(Path(found).absolute())
    return [program, "--no-gui"] if Path(found).name.startswith("octave") else [program]


def _kind_of(arguments: list[str]) -> Kind:
    """Told by the first word that names a program, so that a container's own command may stand before it."""
    for name in (Path(argument).name for argument in arguments):
        if name.startswith(("spm", "run_spm")):
            return "standalone"
        if name.startswith("matlab"):
            return "matlab"
        if name.startswith("octave"):
            return "octave"
    msg = (
        f"expected a command with matlab, octave, spm12 or run_spm12.sh, got {shlex.join(arguments)!r}; correct "
        f"{COMMAND_VARIABLE}"
    )
    raise TissueError(msg)


def _check_folder(folder: Path) -> None:
    if not (folder / "spm.m").is_file():
        msg = f"{folder}: expected SPM's folder with spm.m, found none; correct --tissue-dir or {FOLDER_VARIABLE}"
        raise TissueError(msg)
    if not (folder / "tpm" / "TPM.nii").is_file():
        msg = f"{folder}: expected SPM's tpm/TPM.nii, found none; it comes with SPM: copy it there"
        raise TissueError(msg)


def _version(folder: Path | None) -> str:
    """``7771 (SPM12) 13-Jan-20`` of Contents.m, or ``unknown``."""
    try:
        text = (folder / "Contents.m").read_text(encoding="utf-8", errors="replace") if folder else ""
    except OSError:
        text = ""
    found = re.search(r"^%\s*Version\s+(.+?)\s*$", text, re.MULTILINE)
    return found[1] if found else "unknown"


def _end(process: subprocess.Popen[str]) -> None:
    """End SPM and what it started: launchers leave the real program running when only they are ended."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("semcycle:")]
    return " | ".join(lines[-5:])[-600:] or "it printed nothing"


def _quote(text: Path | str) -> str:
    doubled = str(text).replace("'", "''")
    return f"'{doubled}'"
