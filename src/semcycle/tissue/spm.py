"""Tissue provider ``spm``: SPM's unified segmentation of the T2, run in MATLAB, Octave or as the standalone.

What was run: the batch and the parsing are tested with a stand-in; the Octave route was run with the real SPM12 and
its own ``TPM.nii`` outside this project's tests; MATLAB and the standalone were not run.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from semcycle.cohorts.base import Case
from semcycle.errors import GeometryError, TissueError, VolumeError
from semcycle.files import file_hash, open_scratch
from semcycle.preprocess.brain_mask import find_background, looks_stripped, stripped_brain_mask
from semcycle.tissue import spm_keeper
from semcycle.tissue.base import TissueMaps, make_tissue_maps
from semcycle.tissue.spm_batch import (
    BRAIN_CLASSES,
    CHANNEL,
    MAX_POINTS,
    NGAUS,
    SAMPLING_MM,
    WARP,
    Kind,
    check_folder,
    command_line,
    foreground_box,
    list_gaussians,
    sampling_mm,
    write_batch,
    write_query,
)
from semcycle.tissue.spm_output import COMMAND_VARIABLE, FOLDER_VARIABLE, check_output, error_of, parse_output
from semcycle.types import VoxelArray, VoxelMask
from semcycle.volume import Volume, load_like, make_volume, save_volume

INTERPRETERS = ("matlab", "octave-cli", "octave")
STANDALONES = ("spm12", "spm25")
QUERY_S = 600.0
"""Seconds that a program may take to say where its SPM is; MATLAB starts slowly from a network."""


def find_spm(folder: Path | None = None) -> SpmSegmentation:
    """Make the provider from ``--tissue-dir`` and the environment.

    ``SEMCYCLE_SPM_COMMAND`` says how SPM is started (``matlab -batch``, ``octave-cli --no-gui``, or
    ``run_spm12.sh MCR-FOLDER script`` for the standalone); without it the first of ``matlab``, ``octave-cli``,
    ``octave``, ``spm12`` and ``spm25`` on PATH is taken.

    Args:
        folder: SPM's own folder, with ``spm.m`` and ``tpm/TPM.nii``. ``None``: that of ``SEMCYCLE_SPM_DIR``, and
            without it the SPM that the interpreter knows, which is asked for it.

    Raises:
        TissueError: SPM, its ``TPM.nii`` or the program that runs it was not found.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if folder is None and named:
        folder = Path(named)
    return SpmSegmentation(os.environ.get(COMMAND_VARIABLE) or None, folder)


class SpmSegmentation:
    """Runs SPM12 or SPM25 on every scan, in a temporary folder, and reads GM, WM and CSF back on the scan's grid.

    SPM's settings are its defaults, with two exceptions: of a skull-stripped scan only GM, WM and CSF are fitted, and
    kept within the brain mask; and scans of many voxels are sampled more coarsely. It sees the scan cropped to what is
    not background. It knows of no lesions: large ones bend the fit, see ``docs/tissue-maps.md``.

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
            check_folder(self.spm_dir, f"--tissue-dir or {FOLDER_VARIABLE}")
        self._description = self._describe_spm(self.spm_dir or self._ask_for_folder())

    def maps(
        self, case: Case, volume: Volume, brain: VoxelMask | None = None, lesion: VoxelMask | None = None
    ) -> TissueMaps:
        """Tissue maps of a scan; ``lesion`` is not used, ``brain`` only where the scan is skull-stripped.

        Raises:
            TissueError: SPM could not be run, failed, or wrote maps that are none.
        """
        box = foreground_box(volume)
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, :3] @ [axis.start for axis in box]
        crop = make_volume(volume.data[box], affine, volume.source)
        background = find_background(volume)
        stripped = looks_stripped(volume, background)
        with _make_folder(volume.source) as folder:
            scan = folder / "scan.nii"  # SPM reads no .gz
            batch = write_batch(
                scan, self.kind, self.spm_dir, sampling_mm(crop), BRAIN_CLASSES if stripped else len(NGAUS)
            )
            with _explain_full_disk(volume.source):
                save_volume(scan, crop.data, crop)
                script = _write_script(folder, batch)
            text, code = self._run(script, volume.source, self.timeout_s)
            parse_output(text, code, volume.source)
            maps = np.zeros((3, *volume.shape), np.float32)
            for index, tissue in enumerate(("GM", "WM", "CSF")):
                maps[(index, *box)] = _read_map(folder / f"c{index + 1}scan.nii", crop, tissue, text)
        if stripped:  # three classes also share out the background
            maps *= stripped_brain_mask(volume, background) if brain is None else brain
        return make_tissue_maps(maps[0], maps[1], maps[2], f"{volume.source} (SPM)")

    def describe(self) -> dict[str, str]:
        """Provider, version of SPM, hash of its ``TPM.nii``, and settings; ``unknown`` where they are not readable."""
        settings = {key: value for key, value in (CHANNEL | WARP).items() if key != "write"}
        listed = ", ".join(f"{key} {value}" for key, value in settings.items())
        ngaus = (
            f"ngaus {list_gaussians(len(NGAUS))}, of stripped scans {list_gaussians(BRAIN_CLASSES)} within the brain"
        )
        sampling = f"samp {SAMPLING_MM[0]:g}, coarser above {MAX_POINTS} points an axis"
        return {"provider": "spm"} | self._description | {"settings": f"{ngaus}, {listed}, {sampling}"}

    def files(self, case: Case) -> list[Path]:
        """None: the maps depend on the scan alone."""
        return []

    def _ask_for_folder(self) -> Path:
        """The folder of the SPM that the program finds by itself; it need not exist here, as in a container."""
        with _make_folder(self.arguments[0]) as folder:
            with _explain_full_disk(self.arguments[0]):
                script = _write_script(folder, write_query())
            text, code = self._run(script, self.arguments[0], QUERY_S)
        check_output(text, code, self.arguments[0])
        answer = re.search(r"^semcycle: spm (.+)$", text, re.MULTILINE)
        if not answer:
            msg = (
                f"{self.arguments[0]}: expected the folder of SPM, got none though it ended well ({error_of(text)}); "
                f"check that {COMMAND_VARIABLE} runs a script"
            )
            raise TissueError(msg)
        return Path(answer[1].strip())

    def _describe_spm(self, folder: Path) -> dict[str, str]:
        tpm = folder / "tpm" / "TPM.nii"
        return {"version": _version(folder), "tpm": file_hash(tpm) if tpm.is_file() else "unknown"}

    def _run(self, script: Path, source: str, timeout_s: float) -> tuple[str, int]:
        """Run a script beside a keeper that ends with us, and return all it printed and its exit code."""
        command = command_line(self.arguments, self.kind, script)
        keeper = [sys.executable, "-I", "-S", str(Path(spm_keeper.__file__)), str(script.parent), *command]
        ours, end = os.pipe()
        try:
            with subprocess.Popen(
                keeper,
                stdin=ours,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            ) as process:
                os.close(ours)
                try:
                    text, _ = process.communicate(timeout=timeout_s)
                finally:
                    os.close(end)  # the keeper ends SPM now, had it not ended
                return text, process.returncode
        except subprocess.TimeoutExpired:
            msg = (
                f"{source}: expected SPM to be done within {timeout_s:g} s, got no end and stopped it; use fewer "
                "--workers, or segment elsewhere and give the maps with --tissue maps"
            )
            raise TissueError(msg) from None


@contextmanager
def _make_folder(source: str) -> Iterator[Path]:
    """A scratch folder whose path a script can name."""
    with ExitStack() as stack:
        with _explain_full_disk(source):
            folder = stack.enter_context(open_scratch("semcycle-spm"))
        if not str(folder).isprintable():
            msg = f"{str(folder)!r}: expected a temporary folder without line breaks in its path; set TMPDIR to another"
            raise TissueError(msg)
        yield folder


@contextmanager
def _explain_full_disk(source: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"{source}: expected room for the scan in {tempfile.tempdir or 'a temporary folder'}, got "
            f"{error.strerror or error}; free some there, or set TMPDIR to another folder"
        )
        raise TissueError(msg) from error


def _write_script(folder: Path, text: str) -> Path:
    script = folder / "semcycle_spm.m"
    script.write_text(text, encoding="utf-8")
    return script


def _read_map(path: Path, crop: Volume, tissue: str, text: str) -> VoxelArray:
    if not path.is_file():
        msg = (
            f"{crop.source}: expected SPM to write {path.name}, found none though it ended well ({error_of(text)}); is "
            "the disk for temporary files full?"
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
    place = shutil.which(program)
    if place is None:
        msg = f"expected the program {program!r} to run SPM, found none; install it or correct {COMMAND_VARIABLE}"
        raise TissueError(msg)
    return [str(Path(place).absolute()), *rest]


def _search_path(spm_dir: Path | None) -> list[str]:
    """The first program on PATH that can run SPM; a folder of SPM needs an interpreter, not the standalone."""
    names = INTERPRETERS if spm_dir is not None else INTERPRETERS + STANDALONES
    place = next((path for path in map(shutil.which, names) if path), None)
    if place is None:
        msg = (
            f"expected one of {', '.join(names)} on PATH to run SPM, found none; install one, or say how SPM is "
            f"started in {COMMAND_VARIABLE}"
        )
        raise TissueError(msg)
    program = str(Path(place).absolute())
    return [program, "--no-gui"] if Path(place).name.startswith("octave") else [program]


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


def _version(folder: Path) -> str:
    """``7771 (SPM12) 13-Jan-20`` of Contents.m, or ``unknown``."""
    try:
        text = (folder / "Contents.m").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    line = re.search(r"^%\s*Version\s+(.+?)\s*$", text, re.MULTILINE)
    return line[1] if line else "unknown"
