"""How semcycle stands up to being killed, to lost workers, full disks and company: every run is resumed and compared.

python benchmarks/faults.py --tries 300 --seed 0

A try runs a command on phantoms in a process of its own, disturbs it, runs the same command again undisturbed, and
compares all files with those of a run that was never disturbed, byte for byte but for seconds and TensorBoard's log.

- random: SIGKILL, SIGTERM or SIGINT to the process or to its group, once to three times, at any moment.
- aimed: SIGKILL while a temporary file stands in the folder.
- worker: SIGKILL to a worker; the run itself has to end well.
- disk: no file may grow beyond a size, as on a full disk (RLIMIT_FSIZE); the run has to say so in one line.
- two: the same command twice at once into one folder.

A try is lost where files differ, are missing or left over, where the command cannot be run again, where processes live
on or hang, or where a traceback was printed. Prints a table and a line for every loss; Linux only.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lab import PREPARED, make_lab

from semcycle import cli
from semcycle.prediction import folder as _folder
from semcycle.report import scores_page as _scores
from semcycle.scoring import calibrate as _calibrate
from semcycle.store import paste as _paste
from semcycle.studies import evaluating as _evaluating
from semcycle.studies import running as _running

WARM = (_folder, _scores, _calibrate, _paste, _evaluating, _running)
"""Imported once; the processes of the tries are forked from this one and need not import them."""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
LIMIT_S = 300.0
"""For one run."""
SECONDS = (
    (".json", re.compile(rb'"seconds": ?[\d.]+')),
    (".html", re.compile(rb"[\d.]+ ?s\b")),
    (".html", re.compile(rb"seconds[^\n]{0,120}")),
)
"""What may differ between two runs: file's ending and text."""

Command = Callable[[Path, Path], tuple[object, ...]]


@dataclass(frozen=True)
class Verb:
    """A command to disturb.

    Attributes:
        words: Called with the laboratory and the folder to be made.
        share: How often it is tried; those that take long are tried less.
        workers: Whether it has worker processes.
        together: Whether two may fill one folder at once.
        needs_lab: Whether it reads what the laboratory holds.
    """

    words: Command
    share: int = 4
    workers: bool = False
    together: bool = False
    needs_lab: bool = True


def _list_verbs() -> dict[str, Verb]:
    def store(lab: Path) -> tuple[object, ...]:
        return ("--data", lab / "store", "--split", lab / "split.json")

    def prepare(lab: Path, out: Path) -> tuple[object, ...]:
        return ("prepare", "phantom", lab / "cohort", "--out", out, *PREPARED)

    def predict(lab: Path, out: Path) -> tuple[object, ...]:
        return ("predict", lab / "scans", "--model", lab / "run", "--out", out)

    def draw(lab: Path, out: Path) -> tuple[object, ...]:
        scan = next((lab / "scans").glob("phantom00*"))
        return ("predict", scan, "--model", lab / "run", "--out", out)

    def simulate(lab: Path, out: Path) -> tuple[object, ...]:
        return ("simulate", "phantom", "--out", out, "--healthy", 2, "--lesions", 1, "--spacing", 8)

    return {
        "simulate": Verb(simulate, needs_lab=False),
        "prepare": Verb(prepare, together=True),
        "prepare --workers 2": Verb(lambda lab, out: (*prepare(lab, out), "--workers", 2), 1, workers=True),
        "paste": Verb(lambda lab, out: ("paste", lab / "store", "--out", out, "--copies", 2)),
        "augment": Verb(lambda lab, out: ("augment", lab / "store", "--out", out, "--copies", 1)),
        "train --resume": Verb(lambda lab, out: ("train", lab / "tiny.yaml", *store(lab), "--out", out, "--resume")),
        "calibrate": Verb(
            lambda lab, out: ("calibrate", lab / "store", "--model", lab / "run", "--out", out, "--allow-learned")
        ),
        "score": Verb(lambda lab, out: ("score", lab / "run", *store(lab), "--out", out, "--no-lesions"), 2),
        "evaluate": Verb(
            lambda lab, out: ("evaluate", lab / "anomaly", lab / "truth", "--brain", "none", "--out", out), 2
        ),
        "predict --fast": Verb(lambda lab, out: (*predict(lab, out), "--fast"), together=True),
        "predict --workers 2": Verb(lambda lab, out: (*predict(lab, out), "--fast", "--workers", 2), 1, workers=True),
        "predict": Verb(draw, 1),
    }


VERBS = _list_verbs()


@dataclass
class Process:
    """A run of a command in a forked process and group of its own.

    Attributes:
        pid: Its id, and its group's.
        log: What it prints.
        code: Its exit code once it has ended, negative where a signal ended it.
        started: When.
        hung: Whether it was ended because it took too long.
    """

    pid: int
    log: Path
    code: int | None = None
    started: float = field(default_factory=time.monotonic)
    hung: bool = False

    def poll(self) -> int | None:
        """Its exit code, if it has ended; one that takes too long is killed."""
        if self.code is None and not self.hung and time.monotonic() > self.started + LIMIT_S:
            self.hung = True
            self.send(signal.SIGKILL, group=True)
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self) -> int:
        """Wait for its end."""
        while self.poll() is None:
            time.sleep(0.002)
        return int(self.code or 0)

    def send(self, number: int, *, group: bool) -> None:
        """Send a signal to it, or to all of its group."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number) if group else os.kill(self.pid, number)

    def list_trouble(self) -> list[str]:
        """What is wrong once it has ended: it hung, or its group lives on for seconds."""
        if self.hung:
            return [f"hung for {LIMIT_S:.0f} s"]
        for _ in range(500):
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return []
            time.sleep(0.01)
        os.killpg(self.pid, signal.SIGKILL)
        return ["processes that lived on"]

    def workers(self) -> list[int]:
        """Ids of its worker processes."""
        return [
            worker for server, words in _children(self.pid) if b"forkserver" in words for worker, _ in _children(server)
        ]


def _children(pid: int) -> list[tuple[int, bytes]]:
    """Ids and command lines of a process's children."""
    with suppress(OSError):
        numbers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [(int(number), Path(f"/proc/{number}/cmdline").read_bytes()) for number in numbers]
    return []


def start(words: tuple[object, ...], log: Path, file_limit: int | None = None) -> Process:
    """Run a command in a process of its own.

    Args:
        words: Without ``semcycle``.
        log: For what it prints.
        file_limit: Bytes that no file of it may pass.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until semcycle runs, which is what is tried
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return Process(pid, log)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        sys.argv = ["semcycle", *map(str, words)]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def fingerprint(folder: Path) -> dict[str, str]:
    """File -> hash of its content without seconds; TensorBoard's log has times throughout and is left out."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or "tensorboard/" in name:
            continue
        content = path.read_bytes()
        for ending, pattern in SECONDS:
            if name.endswith(ending):
                content = pattern.sub(b"", content)
        if name.endswith(("log.csv", "summary.csv")):
            content = _drop_seconds(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    return hashes


def _drop_seconds(content: bytes) -> bytes:
    """A CSV without its column of seconds."""
    rows = [line.split(b",") for line in content.splitlines()]
    column = rows[0].index(b"seconds") if rows and b"seconds" in rows[0] else None
    return b"\n".join(
        b",".join(row[:column] + row[column + 1 :]) if column is not None else b",".join(row) for row in rows
    )


@dataclass
class Bench:
    """The laboratory, the undisturbed runs, and what came out so far."""

    lab: Path
    draw: random.Random
    wanted: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)

    def measure(self, name: str) -> None:
        """Run a verb undisturbed, twice: the two have to be equal, else nothing can be told."""
        prints = []
        for turn in range(2):
            out = self.lab / "out"
            shutil.rmtree(out, ignore_errors=True)
            started = time.monotonic()
            code = start(VERBS[name].words(self.lab, out), self.lab / "log").wait()
            self.seconds[name] = time.monotonic() - started
            if code:
                text = (self.lab / "log").read_text(errors="replace")[-500:]
                msg = f"{name}: an undisturbed run ended with {code}: {text}"
                raise RuntimeError(msg)
            prints.append(fingerprint(out))
            if turn and prints[0] != prints[1]:
                differing = [file for file in prints[0] if prints[0][file] != prints[1].get(file)]
                msg = f"{name}: two undisturbed runs differ in {differing}"
                raise RuntimeError(msg)
        self.wanted[name] = prints[0]

    def attempt(self, kind: str, name: str) -> None:
        """One try: disturb, run again, compare."""
        out = self.lab / "out"
        shutil.rmtree(out, ignore_errors=True)
        words = VERBS[name].words(self.lab, out)
        trouble, faults = TESTS[kind](self, name, words, out)
        if not faults:
            self.counts.setdefault(f"{kind}|{name}", Counter())["void"] += 1
            return
        text = (self.lab / "log").read_text(errors="replace")
        if "Traceback" in text:
            trouble.append(f"a traceback: {' / '.join(text[text.index('Traceback') :].splitlines())[-600:]}")
        code = start(words, self.lab / "log").wait()
        if code:
            last = (self.lab / "log").read_text(errors="replace").strip().splitlines()[-1:]
            trouble.append(f"the same command ended with {code}: {' '.join(last)[:200]}")
        got, wanted = fingerprint(out), self.wanted[name]
        for word, files in (
            ("missing", wanted.keys() - got.keys()),
            ("left over", got.keys() - wanted.keys()),
            ("other", {file for file in wanted.keys() & got.keys() if wanted[file] != got[file]}),
        ):
            if files:
                trouble.append(f"{word}: {', '.join(sorted(files)[:4])}")
        self.counts.setdefault(f"{kind}|{name}", Counter()).update(tries=1, faults=faults, lost=int(bool(trouble)))
        if trouble:
            self.losses.append(f"{kind}, {name}: {'; '.join(trouble)}")


Outcome = tuple[list[str], int]


def disturb_randomly(bench: Bench, name: str, words: tuple[object, ...], out: Path) -> Outcome:
    """Kill it one to three times, at any moment."""
    trouble, kills = [], 0
    for _ in range(bench.draw.choice((1, 1, 2, 3))):
        number, group = bench.draw.choice(SIGNALS), bench.draw.random() < 0.5
        moment = time.monotonic() + bench.draw.uniform(0.02, bench.seconds[name])
        run = start(words, bench.lab / "log")
        while run.poll() is None and time.monotonic() < moment:
            time.sleep(0.001)
        if run.poll() is None:
            run.send(number, group=group)
            code = run.wait()
            kills += 1
            if code not in (0, -number, 128 + number):
                trouble.append(f"{signal.Signals(number).name} ended it with {code}")
        trouble += run.list_trouble()
    return trouble, kills


def disturb_while_writing(bench: Bench, name: str, words: tuple[object, ...], out: Path) -> Outcome:
    """SIGKILL as soon as the so-manieth temporary file stands in the folder."""
    run, seen, wanted = start(words, bench.lab / "log"), set(), bench.draw.randrange(1, 2 + len(bench.wanted[name]))
    while run.poll() is None:
        seen.update(entry for folder in _folders(out) for entry in _names(folder) if entry.startswith("."))
        if len(seen) >= wanted:
            run.send(signal.SIGKILL, group=True)
            run.wait()
            break
    return run.list_trouble(), int(run.code == -signal.SIGKILL)


def _folders(out: Path) -> list[Path]:
    with suppress(OSError):
        return [out, *(path for path in out.iterdir() if path.is_dir())] if out.is_dir() else []
    return []


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return [entry.name for entry in folder.iterdir()]
    return []


def kill_worker(bench: Bench, name: str, words: tuple[object, ...], out: Path) -> Outcome:
    """SIGKILL to one of its workers; it has to end well by itself."""
    run, kills = start(words, bench.lab / "log"), 0
    moment = bench.draw.uniform(0.3, 0.9) * bench.seconds[name]
    started = time.monotonic()
    while run.poll() is None:
        if not kills and time.monotonic() - started > moment and (workers := run.workers()):
            with suppress(ProcessLookupError):
                os.kill(bench.draw.choice(workers), signal.SIGKILL)
                kills = 1
        time.sleep(0.01)
    trouble = [] if run.code == 0 else [f"the run ended with {run.code}"]
    return trouble + run.list_trouble(), kills


def fill_disk(bench: Bench, name: str, words: tuple[object, ...], out: Path) -> Outcome:
    """Let no file grow beyond a random size; it has to end with 1 or 2 and a line that names a file."""
    limit = int(2 ** bench.draw.uniform(6, 19))
    code = start(words, bench.lab / "log", limit).wait()
    if code == 0:
        return [], 0  # all its files were smaller
    return ([] if code in (1, 2) else [f"ended with {code} for files of {limit} bytes"]), 1


def run_twice(bench: Bench, name: str, words: tuple[object, ...], out: Path) -> Outcome:
    """Two at once; both have to end well."""
    first = start(words, bench.lab / "log")
    time.sleep(bench.draw.uniform(0, 0.5) * bench.seconds[name])
    second = start(words, bench.lab / "log2")
    codes = (first.wait(), second.wait())
    return ([] if codes == (0, 0) else [f"the two ended with {codes}"]), 1


TESTS: Mapping[str, Callable[[Bench, str, tuple[object, ...], Path], Outcome]] = {
    "random": disturb_randomly,
    "aimed": disturb_while_writing,
    "worker": kill_worker,
    "disk": fill_disk,
    "two": run_twice,
}
SHARES = {"random": 6, "aimed": 3, "worker": 2, "disk": 2, "two": 1}
"""How often each test comes."""


def list_tries(verbs: list[str], count: int, draw: random.Random) -> list[tuple[str, str]]:
    """Test and verb of every try, drawn by their shares."""
    pairs = [
        (kind, name, SHARES[kind] * (6 if kind == "worker" else VERBS[name].share))
        for kind in TESTS
        for name in verbs
        if (kind != "worker" or VERBS[name].workers) and (kind != "two" or VERBS[name].together)
    ]
    chosen = draw.choices(pairs, [share for _, _, share in pairs], k=count)
    return [(kind, name) for kind, name, _ in chosen]


def add_maps(lab: Path) -> None:
    """Folders for evaluate: the model's anomaly maps, and the phantoms' lesions under the same names."""
    for place in ("anomaly", "truth"):
        (lab / place).mkdir()
    for path in sorted((lab / "maps").glob("*_anomaly.nii.gz")):
        name = path.name.removesuffix("_t2_anomaly.nii.gz")
        lesion = next((lab / "cohort" / name).glob("*lesion*.nii.gz"), None)
        if lesion:
            shutil.copyfile(path, lab / "anomaly" / f"{name}.nii.gz")
            shutil.copyfile(lesion, lab / "truth" / f"{name}.nii.gz")


def fill_lab(lab: Path) -> None:
    """Make the laboratory in a process of its own, so that nothing of it is left in the one that tries fork from."""
    child = os.fork()
    if not child:
        make_lab(lab, healthy=2, lesions=2)
        add_maps(lab)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit("the laboratory could not be made")


def main() -> None:
    """Print the table and the losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further try after so many")
    parser.add_argument("--verbs", nargs="+", default=list(VERBS), choices=list(VERBS))
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        lab = Path(name) / "lab"
        lab.mkdir()
        if any(VERBS[verb].needs_lab for verb in args.verbs):
            fill_lab(lab)
        bench = Bench(lab, random.Random(args.seed))
        for verb in args.verbs:
            bench.measure(verb)
        started, known = time.monotonic(), list[str]()
        for kind, verb in list_tries(args.verbs, args.tries, bench.draw):
            if time.monotonic() - started > 60 * args.minutes:
                break
            bench.attempt(kind, verb)
            print(kind, verb, *bench.losses[-1:] if bench.losses != known else (), file=sys.stderr, flush=True)
            known = [*bench.losses]
    print("| test | verb | tries | faults | lost |")
    print("|---|---|---|---|---|")
    for key in sorted(bench.counts):
        counts = bench.counts[key]
        print(f"| {key.replace('|', ' | ')} | {counts['tries']} | {counts['faults']} | {counts['lost']} |")
    total = sum(bench.counts.values(), Counter())
    print(f"| all | | {total['tries']} | {total['faults']} | {total['lost']} |")
    print(f"{total['void']} more tries are void: the run had ended, or no file was too large")
    print(*bench.losses, sep="\n")


if __name__ == "__main__":
    main()
