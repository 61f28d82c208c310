"""What strict reading costs: its share of a prediction, and the peak memory of files that are refused.

    python benchmarks/reading.py
    python benchmarks/reading.py --rounds 3 --spacing 4        # a quick look

The first table times `load_volume` and nibabel's own reading of one stripped head of 240 x 240 x 155 mm, `.nii` and
`.nii.gz` with 16-bit numbers: CPU seconds of one thread, the median of all rounds. The difference is divided by the CPU
seconds of `semcycle predict --fast` for that file in a process of its own. The second table has the peak of a process
that reads a hostile file and ends with the refusal, interpreter and libraries included; the first row is a process that
imports the same and reads nothing. Linux only.
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from memory import run_child, write_head

from semcycle.volume import load_volume

READ = """
import re
import sys
from pathlib import Path
from semcycle.errors import SemcycleError
from semcycle.volume import load_volume
if len(sys.argv) > 1:
    try:
        load_volume(Path(sys.argv[1]))
    except SemcycleError:
        pass
    else:
        sys.exit("was read")
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def read_plainly(path: Path) -> np.ndarray:
    """As nibabel reads."""
    return np.asarray(nib.load(path).dataobj, dtype=np.float32)


def seconds(read: Callable[[Path], object], path: Path) -> float:
    """CPU seconds of this process."""
    started = time.process_time()
    read(path)
    return time.process_time() - started


def peak_mb(*words: str) -> float:
    """Peak of a process that reads; asked of itself, since what the system tells a parent is not below its own."""
    done = subprocess.run([sys.executable, "-c", READ, *words], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1024


def print_costs(folder: Path, spacing: float, rounds: int) -> None:
    """The first table."""
    print("| file | nibabel, CPU s | strict, CPU s | more | prediction, CPU s | share |\n|---|---|---|---|---|---|")
    for ending in (".nii", ".nii.gz"):
        scan = folder / f"head{ending}"
        write_head(scan, spacing)
        load_volume(scan)
        pairs = [(seconds(read_plainly, scan), seconds(load_volume, scan)) for _ in range(rounds)]
        plain, strict = (statistics.median(column) for column in zip(*pairs, strict=True))
        words = ["-m", "semcycle.cli", "predict", str(scan), "--fast", "--out", str(folder / f"out{ending}")]
        whole = run_child(words, 1).cpu_seconds
        print(
            f"| `{ending}` | {plain:.3f} | {strict:.3f} | {strict - plain:.3f} | {whole:.1f} | "
            f"{(strict - plain) / whole:.1%} |",
            flush=True,
        )


def write_refused(folder: Path) -> dict[str, Path]:
    """What stands in the file -> the file."""
    small = np.arange(20 * 24 * 16, dtype=np.int16).reshape(20, 24, 16)
    files = {}

    def claim(name: str, ending: str, sides: tuple[int, ...], **fields: object) -> None:
        path = folder / f"claim{len(files)}{ending}"
        image = nib.Nifti1Image(small, np.eye(4))
        image.header["dim"][: len(sides) + 1] = (len(sides), *sides)
        for key, value in fields.items():
            image.header[key] = value
        content = image.header.binaryblock + b"\0" * 4 + small.tobytes()
        path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
        files[name] = path

    claim("19 kB whose header claims 3 GB, .nii", ".nii", (1000, 1000, 750), datatype=16, bitpix=32)
    claim("the same, .nii.gz", ".nii.gz", (1000, 1000, 750), datatype=16, bitpix=32)
    claim("30000 x 30000 x 30000", ".nii", (30000, 30000, 30000))
    claim("an extension of 1 GB", ".nii", (20, 24, 16), vox_offset=float(1 << 30))
    mgh = folder / "claim.mgh"
    nib.save(nib.MGHImage(small, np.eye(4)), mgh)
    content = bytearray(mgh.read_bytes())
    content[4:16] = struct.pack(">3i", 1000, 1000, 750)
    mgh.write_bytes(content)
    files["19 kB whose header claims 1.5 GB, .mgh"] = mgh
    for name, shape in {
        "4-D, 500 volumes, .nii.gz": (64, 64, 40, 500),
        "more than 512^3 voxels, .nii.gz": (1000, 1000, 140),
        "400 x 400 x 300, its last byte lost, .nii.gz": (400, 400, 300),
        "400 x 400 x 300, a bit of its CRC flipped, .nii.gz": (400, 400, 300),
    }.items():
        path = folder / f"whole{len(files)}.nii.gz"
        header = nib.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)).header
        header["dim"][: len(shape) + 1] = (len(shape), *shape)
        with gzip.open(path, "wb", compresslevel=1) as stream:
            stream.write(header.binaryblock + b"\0" * 4)
            for _ in range(shape[-1]):
                stream.write(bytes(2 * int(np.prod(shape[:-1]))))
        if "lost" in name:
            path.write_bytes(path.read_bytes()[:-1])
        if "flipped" in name:
            packed = bytearray(path.read_bytes())
            packed[-6] ^= 1
            path.write_bytes(packed)
        files[name] = path
    return files


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--spacing", type=float, default=1.0, help="of the head in mm")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print_costs(folder, words.spacing, words.rounds)
        print("\n| refused file | peak MB |\n|---|---|")
        print(f"| none | {peak_mb():.0f} |", flush=True)
        for what, path in write_refused(folder).items():
            print(f"| {what} | {peak_mb(str(path)):.0f} |", flush=True)


if __name__ == "__main__":
    main()
