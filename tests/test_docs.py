"""Every command that the README and the docs show is run, page by page, on a few tiny scans; links lead somewhere.

Run are fenced blocks of `bash` (commands of semcycle, in this process) and `python`, in the order of the page, in a
folder that holds what a reader would have: see :func:`_make_desk`. Blocks of `csv` and `yaml` with a title are written
under that name first. A block after ``<!-- not run: reason -->`` is only counted. To be quick,

- scans are 6 mm phantoms, `prepare` makes 32 x 32 pixels, and `simulate phantom` makes eight scans;
- recipes, shipped and shown, keep their names and lose their size (:func:`_shrink`);
- the bundled model is a tiny one, and `--tissue atlas` and `model` are a few thresholds;
- overviews, contact sheets and samples of a training are blank pictures, other figures coarse ones.
"""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from matplotlib.figure import Figure

from semcycle import cli, tissue
from semcycle.cli import bids_app
from semcycle.cohorts.manifest import write_manifest
from semcycle.report import canvas, html, scan_page, store_page
from semcycle.studies import running
from semcycle.tissue.base import make_tissue_maps
from semcycle.training import recipe, shipped
from semcycle.volume import write_arrays
from tests.conftest import ball_brain, write_case

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
FENCE = re.compile(
    r"(?:^ *<!-- not run: (?P<reason>[^\n]*?) -->\n)?(?P<indent>^ *)```(?P<head>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```",
    re.DOTALL | re.MULTILINE,
)
GRID = ["--size", "32", "--pixel-mm", "7.5"]


@dataclass(frozen=True)
class Block:
    language: str
    title: str
    text: str
    reason: str


def blocks(path):
    found = []
    for match in FENCE.finditer(path.read_text(encoding="utf-8")):
        language, _, rest = match["head"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        text = "".join(line.removeprefix(match["indent"]) for line in match["body"].splitlines(keepends=True))
        found.append(Block(language, title[1] if title else "", text, match["reason"] or ""))
    return found


# --- commands ---


def commands(text):
    """The lines of a block as lists of words, and where the output goes."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        words = shlex.split(line.removeprefix("$ "), comments=True)
        if not words:
            continue
        target = words.pop() if len(words) > 1 and words[-2] == ">" else None
        words = words[:-1] if target else words
        yield [found for word in words for found in _expand(word)], target


def _expand(word):
    return sorted(map(str, Path().glob(word))) if "/*" in word else [word]


def run_command(words, target):
    known = {"semcycle": cli.main, "semcycle-bids": bids_app.main}
    assert words[0] in known, f"only semcycle can be run here, not {words[0]}; mark the block as not run"
    command, words = words[0], words[1:]
    if "--workers" in words:  # in this process: starting others takes longer than the work
        place = words.index("--workers")
        words = words[:place] + words[place + 2 :]
    if words[:1] == ["prepare"]:
        words = words + GRID
    if words[:2] == ["simulate", "phantom"]:
        words = [*words, "--healthy", "2", "--lesions", "6", "--spacing", "6"]
    stdout, code = io.StringIO(), 0
    before, sys.argv = sys.argv, [command, *words]
    try:
        with contextlib.redirect_stdout(stdout):
            known[command]()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = before
    assert code == 0, f"{command} {shlex.join(words)} exited with {code}"
    if target:
        Path(target).write_text(stdout.getvalue())


def run_page(name, say):
    """Run a page's blocks in the current folder."""
    names = {}
    for block in blocks(PAGES[name]):
        if block.reason:
            say(f"not run: {name}: {block.text.splitlines()[0]} ({block.reason})")
        elif block.title and block.language in ("csv", "yaml"):
            Path(block.title).parent.mkdir(parents=True, exist_ok=True)
            Path(block.title).write_text(block.text)
        elif block.language in ("bash", "console"):
            for words, target in commands(block.text):
                run_command(words, target)
                say(f"run: {name}: {shlex.join(words)}")
        elif block.language == "python":
            exec(compile(block.text, name, "exec"), names)
            say(f"run: {name}: {block.text.splitlines()[0]} ... (python)")


# --- what stands for the reader's data, the recipes and the model ---

TINY = {
    "batch_size": 16, "epochs": 1, "base": 2, "norm": "group", "discriminator_base": 2, "discriminator_layers": 1,
}  # fmt: skip


def _shrink(content):
    """A recipe of the same kind that trains in a second."""
    if isinstance(content, list):
        return [_shrink(part) for part in content]
    if not isinstance(content, dict):
        return content
    return {key: TINY.get(key, _shrink(value)) for key, value in content.items()}


class Thresholds:
    """Tissue maps by brightness, in place of the atlas's half minute."""

    def maps(self, case, volume, brain, lesion):
        cuts = np.quantile(volume.data[brain], [0.4, 0.85])
        called = np.digitize(volume.data, cuts)
        wm, gm, csf = (((called == index) & brain).astype(np.float32) for index in range(3))
        return make_tissue_maps(gm, wm, csf, "thresholds")

    def files(self, case):
        return []

    def describe(self):
        return {"provider": "thresholds"}


def _make_desk(root):
    """The files that the pages talk about."""

    def case(folder, name, *, lesion=False, seed=0):
        return write_case(folder, name, seed=seed, lesion=lesion, group="lesion" if lesion else "healthy")

    raw = root / ".raw"
    healthy = [case(raw, f"h0{n}", seed=n) for n in range(1, 5)]
    ill = [case(raw, f"p0{n}", lesion=True, seed=9 + n) for n in range(1, 5)]
    for folder in ("scans", "masks", "my-scans", "my-maps", "their-maps", "truth", "bids"):
        (root / folder).mkdir()

    def copy(source, *targets):
        for target in targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, root / target)

    def brain(one, target):
        t2 = nib.load(one.images["t2"])
        nib.save(nib.Nifti1Image((t2.get_fdata() > 0).astype(np.uint8), t2.affine), root / target)

    copy(ill[0].images["t2"], "scan_t2.nii.gz", "SCAN.nii.gz")
    for number, one in enumerate(ill[:2], 1):
        copy(one.images["t2"], f"scans/patient{number}_t2.nii.gz")
        copy(one.images["t2"], f"bids/sub-0{number}/anat/sub-0{number}_T2w.nii.gz")
        brain(one, f"masks/patient{number}_t2_mask.nii.gz")
    (root / "bids/dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0", "DatasetType": "raw"}')
    for one in healthy:
        copy(one.images["t2"], f"healthy/{one.case_id}_t2.nii.gz")
    for one in [*healthy, *ill]:
        copy(one.images["t2"], f"my-scans/{one.case_id}_t2.nii.gz")
        if one.lesion:
            copy(one.lesion, f"my-scans/{one.case_id}_lesion.nii.gz")
    write_manifest(root / "my-scans", healthy[:2])  # the page on training lists them anew
    write_manifest(root / "part-1", healthy[:2])
    write_manifest(root / "part-2", ill[:2])
    for number, one in enumerate(ill[:3], 1):
        copy(one.images["t2"], f"my-maps/a0{number}_anomaly.nii.gz", f"their-maps/a0{number}.nii.gz")
        copy(one.lesion, f"truth/a0{number}_seg.nii.gz")
        brain(one, f"masks/a0{number}_brain_mask.nii.gz")
    names = [f"Brats18_T{n}_{n}_1" for n in range(4)]
    for number, name in enumerate(names):
        arrays = ball_brain((32, 36, 75), seed=number)  # the cohort's window starts at slice 20
        files = {root / f"DATA/brats/HGG/{name}/{name}_{end}.nii.gz": arrays[key].astype(np.int16) for end, key in
                 (("t2", "t2"), ("seg", "lesion"))}  # fmt: skip
        write_arrays(files, np.diag([6, 6, 2, 1.0]))
    (root / "benchmarks").mkdir()
    (root / "benchmarks/brats18-split.json").write_text(json.dumps({"train": names[:2], "test": names[2:]}))


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """The reader's folder, with a tiny model in the bundled one's place; one a session, a copy a page."""
    patch = pytest.MonkeyPatch()
    root = tmp_path_factory.mktemp("desk")
    _make_desk(root)
    parse = recipe.parse_recipe

    def parse_small(content, where, name=""):
        return parse(content if where.endswith("run.json") else _shrink(content), where, name)

    patch.setattr(recipe, "parse_recipe", parse_small)
    for module, figure in ((scan_page, "overview_figure"), (store_page, "contact_sheet"), (running, "sample_figure")):
        patch.setattr(module, figure, lambda *_, **__: Figure((1, 1)))
    render = canvas.figure_bytes
    for module in (canvas, html):
        patch.setattr(module, "figure_bytes", lambda figure, name="png", **_: render(figure, name, dpi=20))
    for name in ("atlas", "model"):
        patch.setitem(tissue.TISSUE, name, f"{__name__}:thresholds")
    patch.chdir(root)
    for line in (
        "semcycle prepare manifest part-1 --out .model/store",
        "semcycle train smoke/cycle-continuous --data .model/store --out .model/run",
        "semcycle prepare manifest part-2 --out stores/test",
        "semcycle calibrate .model/run --data stores/test --preset baur",
        "semcycle export .model/run --out .model/bundled/t2-brain",
    ):
        run_command(shlex.split(line), None)
    patch.setattr(shipped, "model_folder", lambda: root / ".model/bundled")
    yield SimpleNamespace(root=root, patch=patch)
    patch.undo()


def thresholds(folder):
    return Thresholds()


RUNNABLE = [
    name for name, path in PAGES.items() if any(one.language in ("bash", "console", "python") for one in blocks(path))
]


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_command_of_a_page_runs(name, desk, tmp_path, monkeypatch, record_property):
    shutil.copytree(desk.root, tmp_path / "desk", ignore=shutil.ignore_patterns(".raw"))
    monkeypatch.chdir(tmp_path / "desk")
    said = []
    run_page(name, said.append)
    record_property("commands", said)
    assert said


def test_commands_stand_in_blocks_that_are_run(capsys):
    skipped = []
    for name, path in PAGES.items():
        for block in blocks(path):
            shown = re.search(r"^(\$ )?(semcycle|python|pip|make|export|srun|torchrun) ", block.text, re.MULTILINE)
            if shown and block.language not in ("bash", "console", "python"):
                pytest.fail(f"{name}: fence as ```bash, or it is not run: {block.text.splitlines()[0]}")
            if block.reason:
                skipped.append(f"{name}: {block.text.splitlines()[0]} ({block.reason})")
    with capsys.disabled():
        sys.stdout.write("\n  ".join([f"\ndocs: {len(skipped)} blocks are not run:", *skipped]) + "\n")


def test_commands_that_are_not_run_have_options_that_exist():
    verbs = {name: {word for one in verb.params for word in one.opts} for name, verb in _reference().verbs().items()}
    for name, path in PAGES.items():
        for block in (one for one in blocks(path) if one.reason and one.language == "bash"):
            for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
                found = re.search(r"(?:^|srun |-m )semcycle(?:\.cli)? (.*?)(?: #.*)?$", line)
                if found is None:
                    continue
                verb = max((one for one in verbs if f"{found[1]} ".startswith(f"{one} ")), key=len, default=None)
                assert verb, f"{name}: {line}"
                unknown = set(re.findall(r"(?<=\s)--[a-z-]+", found[1])) - verbs[verb]
                assert not unknown, f"{name}: {line}"


# --- links, verbs, generated pages, columns ---

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def _anchors(path):
    text = path.read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    named = set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
    return named | {re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", head.lower()).strip()) for head in heads}


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_exist(name):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", PAGES[name].read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = (PAGES[name].parent / file).resolve() if file else PAGES[name]
        assert path.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in _anchors(path), f"{name}: {target}"


def _reference():
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import reference_pages
    finally:
        sys.path.pop(0)
    return reference_pages


@pytest.mark.parametrize("name", ["command-line.md", "settings.md", "metrics.md"])
def test_generated_pages_are_up_to_date(name):
    shown = (ROOT / "docs/reference" / name).read_text(encoding="utf-8")
    assert shown == _reference().pages()[name], f"docs/reference/{name} is out of date: run `make reference`"


def test_every_verb_is_explained_outside_the_reference():
    text = "\n".join(path.read_text(encoding="utf-8") for name, path in PAGES.items() if "/reference/" not in name)
    missing = [verb for verb in _reference().verbs() if f"semcycle {verb}" not in text]
    assert not missing, missing


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [name for name in PAGES if name.startswith("docs/") and name.removeprefix("docs/") not in site]
    assert not missing, missing


def test_every_documented_object_exists():
    import importlib

    for name in re.findall(r"^::: (\S+)$", PAGES["docs/reference/python.md"].read_text(), re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        found = importlib.import_module(name) if name == "semcycle.errors" else importlib.import_module(module)
        assert name == "semcycle.errors" or getattr(found, attribute).__doc__, name


def test_every_column_is_explained(desk, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(desk.root / ".model", ".model")
    shutil.copytree(desk.root / "stores", "stores")
    run_command(shlex.split("semcycle score .model/run --data stores/test --out scores"), None)
    run_command(shlex.split(f"semcycle predict {desk.root}/scan_t2.nii.gz --fast --out predictions"), None)
    text = PAGES["docs/reference/files.md"].read_text(encoding="utf-8")
    known = set(re.findall(r"`([^`\s]+)`", text))
    tables = ["predictions/summary.csv", "stores/test/quality/quality.csv", ".model/run/log.csv"]
    tables += [f"scores/{name}.csv" for name in ("table", "per_case", "comparisons", "curves")]
    for table in tables:
        for column in Path(table).read_text().splitlines()[0].split(","):
            general = re.sub(r"_at_(?!fpr_\d$).*|(?<=^dice)_at_.*", "_at_*", column)
            general = "validation_*" if column.startswith("validation_") else general
            assert {column, general} & known, f"{table}: {column} is not explained in docs/reference/files.md"
