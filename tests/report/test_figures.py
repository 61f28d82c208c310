import numpy as np
import pytest
from matplotlib.figure import Figure

from semcycle.report.canvas import crop, crop_boxes, figure_bytes, save_figure, tissue_rgb, to_display
from semcycle.report.curves import PlottedCurve, curves_figure
from semcycle.report.figures import panel_figure, sample_figure
from semcycle.report.overview import choose_slices, overview_figure
from semcycle.report.rates import rates_figure
from semcycle.scoring.panels import Panel, RunPanel

from .test_scan_page import make_prediction


def make_panel(case_id="case_01", presets=("literal", "baur")):
    rng = np.random.default_rng(0)
    brain = np.zeros((32, 32), bool)
    brain[6:28, 8:24] = True
    x = (rng.random((32, 32)) * brain).astype(np.float32)
    truth = np.zeros_like(brain)
    truth[10:14, 10:14] = True
    tissue = np.stack([brain * 0.2, brain * 0.5, brain * 0.3]).astype(np.float32)
    scores = {preset: (x * 0.5).astype(np.float32) for preset in presets}
    runs = {
        "intensity": RunPanel(np.zeros_like(x), None, dict.fromkeys(presets, x)),
        "cycle": RunPanel(x * 0.5, tissue, scores),
    }
    return Panel(case_id, 17, x, brain, truth, runs)


def make_curve(run="cycle"):
    steps = np.linspace(0, 1, 21)
    return PlottedCurve(run, steps, 1 - 0.8 * steps, steps, np.clip(0.6 - np.abs(steps - 0.3), 0, 1))


def texts(figure):
    written = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        written += [axes.get_title(), axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()]
        written += [text.get_text() for text in axes.texts]
    return [text for text in written if text]


def pictures(figure):
    return [image.get_array() for axes in figure.axes for image in axes.images]


def test_display_has_anterior_up_and_the_left_side_on_the_right():
    scan = np.zeros((4, 6))
    scan[-1, 0] = 1  # most anterior, leftmost
    shown = to_display(scan)
    assert shown[0, -1] == 1
    assert shown.sum() == 1


def test_tissue_colours_are_pure_for_pure_tissue_and_black_for_none():
    maps = np.zeros((3, 1, 4), np.float32)
    maps[0, 0, 0] = maps[1, 0, 1] = maps[2, 0, 2] = 1
    gm, wm, csf, none = tissue_rgb(maps)[0]
    np.testing.assert_allclose(gm, np.array([0xE0, 0x75, 0x2D]) / 255, atol=1e-6)
    np.testing.assert_allclose(none, 0)
    luminance = [float(colour @ [0.2126, 0.7152, 0.0722]) for colour in (wm, gm, csf)]
    assert luminance[0] > luminance[1] + 0.2
    assert csf[2] > 2 * csf[0]


def test_crop_pads_with_zeros_over_the_edge():
    cut = crop(np.ones((4, 4)), (-1, 2, 4))
    assert cut.shape == (4, 4)
    np.testing.assert_array_equal(cut, [[0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]])


def test_crop_boxes_share_a_side_and_hold_every_brain():
    small, large = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    small[9:11, 9:11] = True
    large[2:18, 5:15] = True
    boxes = crop_boxes([small, large, np.zeros((20, 20), bool)])
    assert len({side for *_, side in boxes}) == 1
    assert crop(large, boxes[1]).sum() == large.sum()


def test_panel_figure_names_case_slice_runs_and_sides():
    figure = panel_figure([make_panel("a_$1_case"), make_panel("b")], preset="baur")
    written = texts(figure)
    for expected in ("a_$1_case", "slice 17", "input T2", "tissue", "reconstruction", "expert", "R", "L", "cycle"):
        assert expected in written
    # intensity: anomaly only, for a black reconstruction is none; cycle: all three; input and expert
    assert len(pictures(figure)) == 2 * (1 + 1 + 3 + 1)


def test_residuals_share_a_scale_within_a_row_and_a_raw_score_has_its_own():
    panel = make_panel()
    panel.runs["vae"] = RunPanel(panel.x * 0.9, None, {"baur": panel.x * 0.1})
    figure = panel_figure([panel], preset="baur", parts=("anomaly",))
    shown = [image for axes in figure.axes for image in axes.images if image.get_cmap().name == "inferno"]
    intensity, cycle, vae = (image.get_clim()[1] for image in shown)
    assert cycle == vae == pytest.approx(np.percentile(panel.x[panel.brain] * 0.5, 99.5), rel=1e-5)
    assert intensity == pytest.approx(np.percentile(panel.x[panel.brain], 99.5), rel=1e-5)


def test_panel_figure_picks_runs_in_the_given_order_and_refuses_unknown_ones():
    assert "intensity" not in texts(panel_figure([make_panel()], preset="baur", runs=["cycle"]))
    with pytest.raises(ValueError, match="'cycel'"):
        panel_figure([make_panel()], preset="baur", runs=["cycel"])
    with pytest.raises(ValueError, match="at least one"):
        panel_figure([], preset="baur")


def test_panel_figure_leaves_missing_parts_empty():
    other = make_panel("b")
    del other.runs["cycle"]
    figure = panel_figure([make_panel(), other], preset="baur")
    assert len(pictures(figure)) == 2 * (1 + 1 + 3 + 1) - 3


def test_curves_are_labelled_on_both_axes_with_their_best_dice():
    written = texts(curves_figure([make_curve("cycle"), make_curve("vae")], prevalence=0.031))
    assert {"cycle", "vae", "cycle 0.60", "vae 0.60", "chance 0.031", "recall", "precision", "Dice"} <= set(written)


def test_curves_of_long_names_and_flat_zero_dice_are_drawn():
    steps = np.linspace(0, 1, 5)
    curves_figure([PlottedCurve("x" * 80, steps, steps * 0, steps, steps * 0)], theme="dark")


def test_sample_figure_has_a_row_a_slice():
    x = np.random.default_rng(0).random((3, 16, 16)).astype(np.float32)
    tissue = np.full((3, 3, 16, 16), 0.3, np.float32)
    assert len(pictures(sample_figure(x, tissue, x))) == 12
    assert len(pictures(sample_figure(x, None, x * np.nan))) == 9
    figure_bytes(sample_figure(x, None, x * np.nan))


@pytest.mark.parametrize("name", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_bytes(name, tmp_path):
    first, second = (panel_figure([make_panel()], preset="baur") for _ in range(2))
    (path,) = save_figure(first, tmp_path / "fig.2", [name])
    assert path == tmp_path / f"fig.2.{name}"
    assert path.read_bytes() == figure_bytes(second, name)


def test_overview_shows_evenly_spaced_slices_in_every_row():
    figure = overview_figure(make_prediction())
    assert isinstance(figure, Figure)
    assert {"input", "tissue", "reconstruction", "anomaly", "slice 2", "slice 17", "anomaly score"} <= {
        *texts(figure),
        *(child.get_ylabel() for axes in figure.axes for child in axes.child_axes),
    }
    assert len(pictures(figure)) == 8 * (4 + 1)
    assert len(pictures(overview_figure(make_prediction(tissue=None)))) == 8 * (3 + 1)


def test_overview_slices_leave_out_the_tips_and_need_brain():
    brain = np.zeros((10, 4, 4), bool)
    brain[2:8] = True
    brain[1, 0, 0] = True
    assert choose_slices(brain) == [2, 3, 4, 5, 6, 7]
    assert choose_slices(brain, 3) in ([2, 4, 7], [2, 5, 7])
    with pytest.raises(ValueError, match="empty"):
        choose_slices(np.zeros((3, 4, 4), bool))


def test_rates_are_drawn_with_and_without_lesions():
    steps = np.linspace(0, 1, 21)
    plain = PlottedCurve("cycle", steps, steps, steps, steps, fpr=steps**3)
    lesions = PlottedCurve("vae", steps, steps, steps, steps, steps**2, 30 * steps, steps)
    alone = rates_figure([plain, make_curve("old")])
    assert "Sensitivity over false-positive rate" in " ".join(texts(alone))
    assert len(alone.axes) == 1
    both = rates_figure([plain, lesions], theme="dark")
    assert "Lesions found over false alarms" in " ".join(texts(both))
    assert [text.get_text() for text in both.axes[0].get_legend().get_texts()] == ["cycle", "vae"]
