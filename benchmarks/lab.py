"""A small laboratory for the benchmarks that break things: phantoms, their store, a trained model, scores, predictions.

All by semcycle's own commands, run in this process; about half a minute on one core.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path

from semcycle.cli import main

RECIPE = """\
training: {batch_size: 8, validation_share: 0}
method:
  name: cycle
  segmentation: {epochs: 1, base: 2, norm: group}
  synthesis: {epochs: 1, base: 2, norm: group, discriminator_base: 2, discriminator_layers: 1}
"""


def run_command(*words: object) -> int:
    """Run a command of semcycle in this process, in silence.

    Returns:
        Its exit code.
    """
    given = sys.argv
    sys.argv = ["semcycle", *map(str, words)]
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = given
    return 0


def make_lab(root: Path, healthy: int = 3, lesions: int = 3) -> Path:
    """Fill a folder: ``cohort``, ``tiny.yaml``, ``store``, ``split.json``, ``run`` (calibrated), ``scores``, ``maps``.

    Args:
        root: An empty or missing folder.
        healthy: Phantoms without a lesion.
        lesions: Phantoms with one.

    Returns:
        The folder.

    Raises:
        RuntimeError: A command failed.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    data = ("--data", root / "store", "--split", root / "split.json")
    scans = root / "scans"
    commands = (
        ("simulate", "phantom", "--out", root / "cohort", "--healthy", healthy, "--lesions", lesions, "--spacing", 6),
        ("prepare", "phantom", root / "cohort", "--out", root / "store", *PREPARED),
        ("train", root / "tiny.yaml", *data, "--out", root / "run"),
        ("calibrate", root / "run", *data, "--allow-learned"),
        ("score", "--data", root / "store", "--out", root / "scores", "--no-lesions"),
        ("predict", scans, "--model", root / "run", "--out", root / "maps", "--fast"),
    )
    for command in commands:
        if command[0] == "train":
            names = sorted(path.stem for path in (root / "store").glob("*.safetensors"))
            split = {"train": names[1:-1], "test": [names[0], names[-1]]}  # one without and one with a lesion
            (root / "split.json").write_text(json.dumps(split), encoding="utf-8")
        if command[0] == "predict":
            scans.mkdir()
            for path in sorted((root / "cohort").rglob("*_t2.nii.gz")):
                (scans / path.name).write_bytes(path.read_bytes())
        code = run_command(*command)
        if code:
            msg = f"semcycle {' '.join(map(str, command))} exited with {code}"
            raise RuntimeError(msg)
    return root


PREPARED = ("--tissue", "maps", "--size", 32, "--pixel-mm", 7)
"""Options of prepare: small slices, the phantoms' own tissue maps."""
