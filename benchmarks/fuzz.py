"""How reading stands up to damaged files: mutated headers, flipped bits, cut files, wrong settings; seeded.

python benchmarks/fuzz.py --mutants 10000
python benchmarks/fuzz.py --settings --mutants 10000

Prints a table: what was done, and how many files were read as before, read with a doubt, refused with the file's name
in one line, read with other voxels, or ended in another exception. A header whose every field fits the file (another
number type of the same size, another slope, sides swapped) is a valid header of another scan: no reader can tell, and
those are counted apart. With ``--settings`` the files are recipes, records, manifests, splits and tables.
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.random import Generator

from semcycle.errors import SemcycleError
from semcycle.volume import load_volume

KINDS = {
    ".nii": nib.Nifti1Image,
    ".nii.gz": nib.Nifti1Image,
    "2.nii": nib.Nifti2Image,
    ".img": nib.Nifti1Pair,
    ".mgh": nib.MGHImage,
    ".mgz": nib.MGHImage,
}
HEADER = {".mgh": 90, ".mgz": 90, "2.nii": 540}
"""Bytes that are mutated; 348 in the other formats."""
OUTCOMES = ("equal", "doubted", "refused", "another scan's", "wrong voxels", "foreign exception")


def write_bases(folder: Path) -> dict[str, Path]:
    """One small scan in every format."""
    data = np.random.default_rng(0).integers(1, 2000, (20, 24, 16)).astype(np.int16)
    affine = np.diag([1.5, 1.5, 3.0, 1.0])
    bases = {}
    for ending, kind in KINDS.items():
        image = kind(data, affine)
        if hasattr(image, "set_qform"):
            image.set_qform(affine, 1)
        bases[ending] = folder / f"base{ending}"
        nib.save(image, bases[ending])
    return bases


def mutate_header(content: bytes, length: int, random: Generator) -> bytes:
    """One to four bytes of the header set to anything, or to what breaks things most often."""
    changed = bytearray(content)
    for _ in range(random.integers(1, 5)):
        changed[random.integers(length)] = random.choice([0, 1, 127, 128, 255, random.integers(256)])
    return bytes(changed)


def mutants(bases: dict[str, Path], count: int, seed: int, folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Name of the test, mutated file and its base."""
    random = np.random.default_rng(seed)
    endings = list(bases)
    for number in range(count):
        ending = endings[number % len(endings)]
        base = bases[ending]
        path = folder / f"mutant{ending}"
        front = base.with_suffix(".hdr") if ending == ".img" else base
        content = front.read_bytes()
        packed = ending in (".nii.gz", ".mgz")
        test = random.choice(["header", "header", "header", "bit", "cut"])
        if test == "header":
            inner = gzip.decompress(content) if packed else content
            changed = mutate_header(inner, HEADER.get(ending, 348), random)
            changed = gzip.compress(changed, 1) if packed else changed
        elif test == "bit" and packed:
            place = int(random.integers(len(content) * 8))
            altered = bytearray(content)
            altered[place // 8] ^= 1 << place % 8
            changed = bytes(altered)
        else:
            test, changed = "cut", content[: random.integers(1, len(content))]
        if ending == ".img":
            path.with_suffix(".hdr").write_bytes(changed)
            path.write_bytes(base.read_bytes())
        else:
            path.write_bytes(changed)
        yield f"{test} of {ending}", path, base


def outcome(path: Path, base: Path) -> str:
    """What reading a mutant comes to."""
    expected = load_volume(base)
    try:
        volume = load_volume(path)
    except SemcycleError as error:
        return "refused" if path.name in str(error) and "\n" not in str(error) else "foreign exception"
    except Exception:
        return "foreign exception"
    if volume.data.shape == expected.data.shape and np.array_equal(volume.data, expected.data):
        return "doubted" if volume.warnings else "equal"
    if volume.warnings:
        return "doubted"
    return "another scan's" if _is_consistent(path) else "wrong voxels"


def _is_consistent(path: Path) -> bool:
    """Whether the file is, by nibabel and by gzip, a whole one: a header of other numbers, not a damaged file."""
    image = nib.load(path)
    file = Path(image.file_map["image"].filename)
    content = gzip.decompress(file.read_bytes()) if file.name.endswith((".gz", ".mgz")) else file.read_bytes()
    end = image.dataobj.offset + int(np.prod(image.shape)) * image.get_data_dtype().itemsize
    return end <= len(content) and (isinstance(image, nib.MGHImage) or not content[end:].strip(b"\0"))


def run(count: int, seed: int) -> dict[str, Counter[str]]:
    """Outcomes by test."""
    table: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bases = write_bases(folder)
        for test, path, base in mutants(bases, count, seed, folder):
            table.setdefault(test, Counter())[outcome(path, base)] += 1
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--settings", action="store_true", help="configuration files instead of scans")
    args = parser.parse_args()
    outcomes, defects = OUTCOMES, []
    if args.settings:
        import fuzz_settings
        from lab import make_lab

        outcomes = fuzz_settings.OUTCOMES
        with tempfile.TemporaryDirectory() as name:
            table, defects = fuzz_settings.run(make_lab(Path(name)), args.mutants, args.seed)
    else:
        table = run(args.mutants, args.seed)
    print(f"| test | files | {' | '.join(outcomes)} |")
    print("|" + "---|" * (len(outcomes) + 2))
    for test in [*sorted(table), "all"]:
        counts = table[test] if test != "all" else sum(table.values(), Counter())
        print(f"| {test} | {counts.total()} | {' | '.join(str(counts[name]) for name in outcomes)} |")
    print(*defects, sep="\n")


if __name__ == "__main__":
    main()
