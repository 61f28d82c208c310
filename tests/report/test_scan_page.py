import base64
import gzip
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from semcycle.errors import Failure, ScoringError
from semcycle.prediction.prediction import Prediction, predict_volume
from semcycle.preprocess.brain_mask import BrainRecord
from semcycle.preprocess.geometry import fit_grid
from semcycle.preprocess.intensity import IntensityScale
from semcycle.preprocess.pipeline import Prepared, PreprocessRecord
from semcycle.report import viewer
from semcycle.report.folder_page import write_folder_page
from semcycle.report.histogram import draw_histogram
from semcycle.report.scan_page import draw_scan, write_scan_page
from semcycle.studies.running import run_training
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint
from semcycle.volume import load_volume, make_volume
from tests.conftest import ball_brain, tiny_recipe

from .test_scores_page import EVIL, read

THRESHOLD = 0.37


RECORD = {"model": "tiny", "versions": {"semcycle": "0.1.0"}, "preset": "literal"}
CUT = Threshold("fpr_1", THRESHOLD, "healthy: 1 % FPR on 3 cases")


def on_grid(image, affine, brain, scores, reconstruction, tissue=None, threshold=CUT, pixel_mm=1.0, flags=()):
    """A prediction whose working pixels are the scan's own, so that nothing is changed on the way there and back."""
    volume = replace(make_volume(image, affine), warnings=tuple(flags))
    grid = fit_grid(volume, brain, 256, pixel_mm)
    record = PreprocessRecord(grid, IntensityScale(0.0, 1000.0), BrainRecord("given", 1400.0, 0.95), None)
    prepared = Prepared(grid.forward(image) / 1000, grid.forward(brain) > 0.5, brain, record)
    parts = None if tissue is None else np.stack([grid.forward(tissue[..., index]) for index in range(3)], 1)
    return Prediction(
        volume, prepared, grid.forward(scores), grid.forward(reconstruction) / 1000, parts, "literal", threshold
    )


def made_up(spacing=(1.0, 1.0, 6.0)):
    """Arrays of a ball brain with a bright lesion on the patient's left, anterior and superior of the middle."""
    arrays = ball_brain((60, 68, 20))
    t2 = arrays["t2"]
    brain = t2 > 0
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in t2.shape], indexing="ij"))
    lesion = ((grid - np.array([-0.4, 0.3, 0.3])[:, None, None, None]) ** 2).sum(0) < 0.03
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-30, -34, -60)
    return {
        "image": t2,
        "affine": affine,
        "brain": brain,
        "scores": (np.where(lesion, 0.8, 0.05 + 0.2 * (t2 > 500)) * brain).astype(np.float32),
        "reconstruction": np.where(brain, 400, 0).astype(np.float32),
        "tissue": np.stack([arrays[name] for name in ("gm", "wm", "csf")], -1).astype(np.float32),
    }


def make_prediction(spacing=(1.0, 1.0, 6.0), **changes):
    return on_grid(**(made_up(spacing) | changes))


def embedded(path):
    """Settings and volumes ``(X, Y, Z)`` of a page."""
    text = path.read_text(encoding="utf-8")
    settings = json.loads(re.search(r'id="viewer-settings">(.*?)</script>', text, re.S).group(1))
    parts = re.findall(r'data-volume="(\w+)">(.*?)</script>', text, re.S)
    shape = settings["shape"][::-1]
    unpacked = {n: np.frombuffer(gzip.decompress(base64.b64decode(c)), np.uint8).reshape(shape).T for n, c in parts}
    return settings, unpacked


def test_page_says_what_was_found(tmp_path):
    prediction = make_prediction(flags=["brain of 600 ml"])
    path = write_scan_page(tmp_path / "scan_01_report.html", prediction, "scan_01", RECORD, index="index.html")
    page = read(path)
    text = " ".join(" ".join(page.text).split())
    ml = prediction.mask_native().sum() * 6 / 1000
    for expected in ("scan_01", f"{ml:.1f}", "0.37", "1 % FPR on 3 cases", "brain of 600 ml", "tiny", "semcycle 0.1.0"):
        assert expected in text
    assert "Not a medical device" in text
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert {"index.html"} < {a.get("href") for tag, a in page.tags if tag == "a"}


def test_page_is_complete_in_itself_and_can_be_used_without_a_mouse(tmp_path):
    assert draw_scan(make_prediction(), tmp_path, "p", RECORD) == ["p_overview.png", "p_thumbnail.png", "p_report.html"]
    path = tmp_path / "p_report.html"
    source = re.sub(r"base64,[^\"]+", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", source)
    page = read(path)
    labels = {a.get("for") for tag, a in page.tags if tag == "label"}
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base"}
        assert attributes.get("src", "data:").startswith("data:")
        assert tag not in {"canvas", "svg"} or attributes["aria-label"]
        if tag == "input" and attributes["type"] == "range":
            assert attributes.get("id") in labels or attributes["aria-label"]
    assert sum(a.get("tabindex") == "0" for tag, a in page.tags if tag == "canvas") == 3
    assert any(tag == "img" for tag, _ in page.tags)


def test_strings_are_escaped_and_bytes_repeat(tmp_path):
    prediction = make_prediction(flags=[EVIL], threshold=Threshold("given", THRESHOLD, EVIL))
    record = {"model": EVIL, "versions": {EVIL: EVIL}}
    paths = [write_scan_page(tmp_path / name, prediction, EVIL, record) for name in ("a.html", "b.html")]
    assert EVIL not in paths[0].read_text(encoding="utf-8")
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, -1)])
def test_any_orientation_is_shown_the_same_way(tmp_path, axes, flips):
    upright = made_up()
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr(np.eye(3) + 0.1 * np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]]))[0]
    turn[:3, :3] *= np.sign(np.diag(turn[:3, :3]))

    def move(data):
        moved = data.transpose(*axes, *range(3, data.ndim))
        return np.ascontiguousarray(moved[tuple(slice(None, None, flip) for flip in flips)])

    to_old = np.zeros((4, 4))
    to_old[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        to_old[old, new] = flip
        to_old[old, 3] += upright["image"].shape[old] - 1 if flip < 0 else 0
    turned = {name: move(data) for name, data in upright.items() if name != "affine"}
    prediction = on_grid(**turned, affine=turn @ upright["affine"] @ to_old)
    lesion, volume = prediction.mask_native(), prediction.volume
    settings, volumes = embedded(write_scan_page(tmp_path / "turned.html", prediction, "a", RECORD))
    straight, expected = embedded(write_scan_page(tmp_path / "straight.html", on_grid(**upright), "a", RECORD))
    assert settings["spacing"] == pytest.approx([1, 1, 6], abs=1e-4)
    assert settings["start"] == straight["start"]
    for name, data in volumes.items():
        np.testing.assert_array_equal(data, expected[name])
    to_voxel, to_mm = np.array(settings["toVoxel"]), np.array(settings["toMm"])
    for at in np.random.default_rng(0).integers(0, settings["shape"], (50, 3)):
        voxel = to_voxel @ [*at, 1]
        i, j, k = np.rint(voxel).astype(int)
        assert volumes["lesion"][tuple(at)] == lesion[i, j, k]
        value = settings["image"]["low"] + volumes["image"][tuple(at)] * settings["image"]["step"]
        assert value == pytest.approx(volume.data[i, j, k], abs=settings["image"]["step"])
        assert to_mm @ [*at, 1] == pytest.approx((volume.affine @ [*voxel, 1])[:3], abs=1e-3)


def test_the_viewer_cuts_where_the_mask_was_cut():
    scores = np.random.default_rng(0).random((20, 20, 20)).astype(np.float32) ** 3
    brain = np.ones(scores.shape, bool)
    for threshold in (0.0123, 0.2, 0.37):
        cut = Threshold("given", threshold, "given")
        made = viewer.embed_viewer(on_grid(scores, np.eye(4), brain, scores, scores, threshold=cut))
        scale = made["settings"]["scores"]
        level = round(threshold / scale["step"])
        assert level * scale["step"] == pytest.approx(threshold)
        assert 1 <= level <= scale["last"] <= 255
        packed = gzip.decompress(base64.b64decode(made["volumes"]["scores"]))
        bytes_ = np.frombuffer(packed, np.uint8).reshape(scores.shape).T
        np.testing.assert_array_equal(bytes_ >= level, scores >= np.float32(threshold))


def test_a_fine_scan_is_thinned_out_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(viewer, "_MAX_VOXELS", 20_000)
    prediction = make_prediction(spacing=(0.5, 1.0, 6.0), pixel_mm=0.5)
    path = write_scan_page(tmp_path / "p.html", prediction, "p", RECORD)
    settings, volumes = embedded(path)
    assert settings["spacing"] == pytest.approx([2, 1, 6])
    assert volumes["image"].size <= 20_000
    assert "every 4th voxel" in " ".join(" ".join(read(path).text).split())
    at = np.array(settings["start"])
    voxel = np.rint(np.array(settings["toVoxel"]) @ [*at, 1]).astype(int)
    assert prediction.mask_native()[tuple(voxel)]


def test_tissue_and_threshold_may_be_missing(tmp_path):
    bare = make_prediction(tissue=None, threshold=None)
    path = write_scan_page(tmp_path / "p.html", bare, "p", {})
    settings, volumes = embedded(path)
    assert set(volumes) == {"image", "scores", "reconstruction"}
    assert settings["scores"]["threshold"] is None
    assert "without a threshold" in " ".join(read(path).text)
    nothing = make_prediction(scores=np.zeros_like(bare.volume.data))
    assert "0.0" in " ".join(read(write_scan_page(tmp_path / "q.html", nothing, "q", {})).text)


def test_a_whole_head_stays_below_eight_megabytes(tmp_path):
    generator = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (240, 240, 155)], indexing="ij"))
    brain = ((grid / np.array([0.58, 0.72, 0.9])[:, None, None, None]) ** 2).sum(0) < 1  # 1.8 l: a large brain
    noise = generator.normal(0, 1, brain.shape).astype(np.float32)
    smooth = np.sin(9 * grid[0]) * np.cos(7 * grid[1]) * np.cos(8 * grid[2])
    image = ((500 + 200 * smooth + 15 * noise) * brain).astype(np.float32)
    scores = (np.clip(0.1 + 0.05 * smooth + 0.01 * noise, 0, 1) * brain).astype(np.float32)
    tissue = np.stack([np.clip(0.5 + part * smooth, 0, 1) * brain for part in (-2, 2, 0.5)], -1)
    head = on_grid(image, np.eye(4), brain, scores, image * 0.9, tissue, Threshold("given", 0.14, "given"))
    assert write_scan_page(tmp_path / "p.html", head, "head", RECORD).stat().st_size < 8e6


def test_histogram_counts_and_marks():
    scores = np.concatenate([np.full(1000, 0.05), np.full(10, 0.9)])
    drawn = draw_histogram(scores, 0.5)
    assert len(drawn["bars"]) == 2
    low, high = drawn["bars"]
    assert (low["called"], high["called"]) == (False, True)
    assert low["height"] > high["height"] > 0
    assert "1 % reach" in drawn["words"] or "0.99 % reach" in drawn["words"]
    assert [tick["text"] for tick in drawn["ticks"]] == ["0", "0.2", "0.4", "0.6", "0.8"]
    assert draw_histogram(np.zeros(5), None)["threshold"] is None


def make_summary():
    return pd.DataFrame(
        {
            "scan": ["a/b 1", "c2", "c10"],
            "lesion_ml": [12.5, 0.0, 3.0],
            "components": [2, 0, 1],
            "mean_score": [0.02, 0.01, np.nan],
            "threshold": [0.3, 0.3, 0.3],
            "flags": ["", "brain of 600 ml; tilted", ""],
        }
    )


def test_folder_page_lists_scans_and_links_to_their_pages(tmp_path):
    (tmp_path / "c2_report.html").write_text("")
    failures = [Failure("broken", f"not readable {EVIL}")]
    path = write_folder_page(tmp_path, make_summary(), facts={"model": EVIL}, failures=failures)
    assert path == tmp_path / "index.html"
    page = read(path)
    text = " ".join(" ".join(page.text).split())
    assert "3 scans, 2 with something called lesion, 1 with quality flags" in text
    assert "brain of 600 ml; tilted" in text
    assert "broken" in text
    assert EVIL in text
    addresses = [a["href"] for tag, a in page.tags if tag == "a" and not a["href"].startswith("#")]
    assert addresses == ["c2_report.html"]
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    without = make_summary().assign(lesion_ml="", components="")  # as read from a file without a threshold
    text = " ".join(read(write_folder_page(tmp_path, without)).text)
    assert "called lesion" not in text.replace("are called lesion", "")
    with pytest.raises(ScoringError, match="column scan"):
        write_folder_page(tmp_path, pd.DataFrame({"x": [1]}))


def test_findings_are_listed_with_a_way_to_each(tmp_path):
    prediction = make_prediction()
    path = write_scan_page(tmp_path / "p.html", prediction, "p", RECORD)
    settings, volumes = embedded(path)
    assert len(settings["findings"]) == len(prediction.findings) >= 1
    for at, finding in zip(settings["findings"], prediction.findings, strict=True):
        assert volumes["lesion"][tuple(at)]
        assert np.rint(np.array(settings["toVoxel"]) @ [*at, 1]).astype(int).tolist() == list(finding.voxel)
    rows = [attributes for tag, attributes in read(path).tags if tag == "tr" and "data-finding" in attributes]
    assert len(rows) == len(prediction.findings)
    nothing = make_prediction(scores=np.zeros_like(prediction.volume.data))
    assert "No findings" in " ".join(read(write_scan_page(tmp_path / "q.html", nothing, "q", RECORD)).text)


def test_folder_page_shows_thumbnails_of_the_first_scans(tmp_path, monkeypatch):
    draw_scan(make_prediction(), tmp_path, "c2", RECORD)
    write_folder_page(tmp_path, make_summary())
    pictures = [a for tag, a in read(tmp_path / "index.html").tags if tag == "img"]
    assert len(pictures) == 1
    assert pictures[0]["src"].startswith("data:image/png")
    monkeypatch.setattr("semcycle.report.folder_page.MOST_PICTURES", 1)
    write_folder_page(tmp_path, make_summary())
    assert not [a for tag, a in read(tmp_path / "index.html").tags if tag == "img"]


def test_page_of_a_prediction(ball_store, ball_cases, tmp_path):
    run_training(tiny_recipe(), ball_store, ball_store.case_ids, tmp_path / "run")
    checkpoint = load_checkpoint(tmp_path / "run")
    volume = load_volume(Path(ball_cases[-1].images["t2"]))
    made = predict_volume(checkpoint, volume, threshold=Threshold("fpr_1", 0.05, "healthy: 1 % FPR on 4 balls"))
    assert draw_scan(made, tmp_path, "l1", {"preset": "literal"}) == [
        "l1_overview.png",
        "l1_thumbnail.png",
        "l1_report.html",
    ]
    path = tmp_path / "l1_report.html"
    page = read(path)
    text = " ".join(page.text)
    assert all(words in text for words in ("l1", "literal", "4 balls"))
    assert any(tag == "img" for tag, _ in page.tags)
    settings, volumes = embedded(path)
    assert {"image", "scores", "reconstruction", "gm", "wm", "csf", "lesion"} == set(volumes)
    level = round(0.05 / settings["scores"]["step"])
    called = (made.anomaly_native() >= np.float32(0.05)) & made.prepared.brain_native
    assert (volumes["scores"] >= level).sum() == called.sum()
