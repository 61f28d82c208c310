"""The pages in a real browser: Chromium without a window, driven by Playwright; skipped where either is missing."""

import re
import shutil
import threading
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.image import imread

from semcycle.report.folder_page import write_folder_page
from semcycle.report.scan_page import write_scan_page
from semcycle.report.scores_page import report_scores
from semcycle.report.serve import make_server
from semcycle.report.store_page import quality_report

from .test_scan_page import RECORD, THRESHOLD, made_up, make_prediction, make_summary
from .test_scores_page import make_scores

pytestmark = pytest.mark.slow

QUIET = ["--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
LOCAL = re.compile(r"(file|data|blob|about):|http://127\.0\.0\.1:")
PLANES = ("axial", "coronal", "sagittal")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'semcycle[browser]'")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next((name for name in found if name), None)
    if path is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=QUIET)
        yield started
        started.close()


@pytest.fixture
def open_page(browser):
    """Opens an address; at the end nothing may have been complained of, and nothing asked of another machine."""
    contexts, complaints, addresses = [], [], []

    def opened(address, *, scheme="light", width=1366, height=768):
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: addresses.append(request.url))
        page.goto(address if isinstance(address, str) else address.as_uri())
        if page.locator("#viewer").count():
            page.wait_for_selector("#viewer[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert addresses
    assert all(LOCAL.match(address) for address in addresses)


@pytest.fixture(scope="module")
def scan_page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    write_scan_page(folder / "c2_report.html", make_prediction(), "scan_01", RECORD, index="index.html")
    write_folder_page(folder, make_summary())
    return folder / "c2_report.html"


def pixels(page, plane="axial"):
    """``(H, W, 3)`` of what a plane shows on the screen."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    picture = imread(BytesIO(page.locator(f"canvas[data-plane={plane}]").screenshot()), format="png")
    return np.rint(picture[..., :3] * 255).astype(int)


def coloured(picture):
    """Pixels in the overlay's colours: neither grey nor the outline's green."""
    red, green, blue = np.moveaxis(picture, -1, 0)
    return (red - blue > 25) & (red > green - 10)


def slide(page, control, value):
    page.locator(f"[data-control={control}]").evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def test_the_viewer_draws_all_planes_in_proportion(open_page, scan_page):
    page = open_page(scan_page)
    arrays = made_up()
    inside = np.argwhere(arrays["brain"])
    margins = np.array([8, 8, 6])  # mm: 8 voxels, and one thick slice
    extent = (np.ptp(inside, axis=0) + 1) * [1, 1, 6] + 2 * margins
    extent = np.minimum(extent, np.array(arrays["image"].shape) * [1, 1, 6])
    for plane, across, up in (("axial", 0, 1), ("coronal", 0, 2), ("sagittal", 1, 2)):
        picture = pixels(page, plane)
        assert picture.std() > 20
        assert coloured(picture).any()
        assert picture.shape[1] / picture.shape[0] == pytest.approx(extent[across] / extent[up], rel=0.02)
    assert not page.locator("[data-control=notice]").count()


def test_the_patients_left_is_on_the_right(open_page, scan_page):
    page = open_page(scan_page)
    for plane, right, up in (("axial", True, True), ("coronal", True, True), ("sagittal", False, True)):
        picture = pixels(page, plane)
        rows, columns = np.nonzero(coloured(picture))
        brightest = picture[rows, columns].sum(axis=1) > 500  # the lesion: left, anterior, superior of the middle
        assert (columns[brightest].mean() > picture.shape[1] / 2) == right
        assert (rows[brightest].mean() < picture.shape[0] / 2) == up


def test_sliders_change_what_is_drawn(open_page, scan_page):
    page = open_page(scan_page)
    start = pixels(page)
    slide(page, "opacity", 20)
    faint = pixels(page)
    assert np.abs(start - faint).sum() > 1000
    slide(page, "opacity", 0)
    bare = pixels(page)
    assert not coloured(bare).any()
    page.click("[data-control=reset]")
    np.testing.assert_array_equal(pixels(page), start)
    counts = []
    for share in (0.05, 0.2, 0.5):
        last = int(page.locator("[data-control=threshold]").get_attribute("max"))
        slide(page, "threshold", round(share * last))
        counts.append(int((pixels(page) != bare).any(axis=-1).sum()))
    assert counts[0] > counts[1] > counts[2]
    slide(page, "white", 60)
    assert pixels(page).mean() > start.mean()
    assert page.locator("#v-threshold").get_attribute("aria-valuetext")


def test_threshold_starts_where_the_mask_was_cut(open_page, scan_page):
    page = open_page(scan_page)
    assert page.locator("output[for=v-threshold]").inner_text() == f"{THRESHOLD:g}"
    arrays = made_up()
    ml = ((arrays["scores"] >= THRESHOLD) & arrays["brain"]).sum() * 6 / 1000
    assert page.locator("[data-control=volume]").inner_text().startswith(f"{ml:.1f} ml")


def test_a_click_and_the_keys_move_the_other_planes(open_page, scan_page):
    page = open_page(scan_page)
    before = {plane: pixels(page, plane) for plane in PLANES}
    canvas = page.locator("canvas[data-plane=axial]")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.3, "y": box["height"] * 0.7})
    after = {plane: pixels(page, plane) for plane in PLANES}
    assert all(np.abs(before[plane] - after[plane]).sum() > 1000 for plane in PLANES)

    def voxel():
        return [int(part) for part in page.locator("[data-row=crosshair] [data-value=voxel]").inner_text().split(", ")]

    there = voxel()
    for key, moved in (("ArrowLeft", (1, 0, 0)), ("ArrowUp", (0, 1, 0)), ("PageUp", (0, 0, 1))):
        page.keyboard.press(key)
        assert np.subtract(voxel(), there).tolist() == list(moved)
        there = voxel()
    arrays = made_up()
    cells = {name: page.locator(f'[data-row=crosshair] [data-value="{name}"]').inner_text() for name in ("input", "mm")}
    assert float(cells["input"].replace("≥", "")) == pytest.approx(arrays["image"][tuple(there)], abs=5)
    millimetres = (arrays["affine"] @ [*there, 1])[:3]
    assert [float(part) for part in cells["mm"].split(", ")] == pytest.approx(millimetres, abs=0.06)
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    assert page.locator("[data-row=pointer] [data-value=voxel]").inner_text() != "–"


def test_findings_move_the_viewer(open_page, tmp_path):
    arrays = made_up()
    arrays["scores"][40:44, 20:24, 8:10] = 0.6 * arrays["brain"][40:44, 20:24, 8:10]
    prediction = make_prediction(scores=arrays["scores"])
    page = open_page(write_scan_page(tmp_path / "p.html", prediction, "p", RECORD))
    places = [", ".join(map(str, finding.voxel)) for finding in prediction.findings]
    assert len(places) == 2
    cell = page.locator("[data-row=crosshair] [data-value=voxel]")
    page.click("#findings tr[data-finding='1'] td >> nth=0")
    assert cell.inner_text() == places[1]
    assert page.locator("#findings tr[aria-current=true]").get_attribute("data-finding") == "1"
    for key, place in (("n", places[0]), ("n", places[1]), ("p", places[0]), ("p", places[1])):
        page.keyboard.press(key)
        assert cell.inner_text() == place
    page.locator("#findings tbody button").first.focus()
    page.keyboard.press("Enter")
    assert cell.inner_text() == places[0]


def test_layers_can_be_switched(open_page, scan_page):
    page = open_page(scan_page)
    shown = [pixels(page)]
    for layer in ("overlay", "outline", "cross"):
        page.uncheck(f"[data-layer={layer}]")
        shown.append(pixels(page))
    for base in ("reconstruction", "tissue"):
        page.check(f"[name=base][value={base}]")
        shown.append(pixels(page))
    for one, other in pairwise(shown):
        assert (one != other).any()
    assert coloured(shown[-1]).any()  # GM is orange
    assert not coloured(shown[-2]).any()


def test_tables_sort(open_page, scan_page):
    page = open_page(scan_page.parent / "index.html")

    def column(number):
        return page.locator(f"tbody tr > :nth-child({number})").all_inner_texts()

    page.click("thead button >> text=scan")
    assert column(1) == ["a/b 1", "c2", "c10"]  # numbers within names count
    head = page.locator("thead button >> text=mean score")
    head.click()
    assert column(1) == ["a/b 1", "c2", "c10"]
    head.focus()
    page.keyboard.press("Enter")
    assert column(1) == ["c2", "a/b 1", "c10"]  # an empty cell stays last
    page.click("tbody a")
    page.wait_for_selector("#viewer[data-ready]")
    assert page.title().startswith("scan_01")


def test_dark_light_and_print(open_page, scan_page):
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, light = (open_page(scan_page, scheme=scheme) for scheme in ("dark", "light"))
    shades = [sum(map(int, re.findall(r"\d+", page.evaluate(paper))[:3])) for page in (dark, light)]
    assert shades[0] < 150 < 600 < shades[1]
    dark.emulate_media(media="print")
    assert dark.evaluate(paper) == "rgb(255, 255, 255)"
    assert not dark.locator(".controls").is_visible()
    assert dark.locator("canvas[data-plane=axial]").is_visible()
    content = dark.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", content)) == 2


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_a_screen_reader_finds_names_and_contrast(open_page, scan_page, ball_store, scheme, tmp_path):
    """By the rules of axe-core, all of which these pages keep."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe-playwright-python")
    pages = [scan_page, scan_page.with_name("index.html"), report_scores(make_scores(tmp_path / "scores"))]
    for path in [*pages, quality_report(ball_store, tmp_path)]:
        result = axe.Axe().run(open_page(path, scheme=scheme))
        assert result.violations_count == 0, result.generate_report()


def test_a_narrow_window_needs_no_sideways_scrolling(open_page, scan_page):
    for width in (400, 900, 1366):
        page = open_page(scan_page, width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_every_page_has_the_same_frame(open_page, scan_page, ball_store, tmp_path):
    pages = [scan_page, report_scores(make_scores(tmp_path / "scores")), quality_report(ball_store, tmp_path)]
    looks = set()
    for path in pages:
        page = open_page(path)
        assert page.locator("main#main h2").count()
        looks.add(
            page.evaluate(
                "(({ font, color, backgroundColor }) => font + color + "
                "backgroundColor)(getComputedStyle(document.body))"
            )
        )
    assert len(looks) == 1


def test_pages_work_when_served(open_page, scan_page):
    with make_server(scan_page.parent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = open_page(f"http://127.0.0.1:{server.server_port}/")
        page.click("tbody a")
        page.wait_for_selector("#viewer[data-ready]")
        assert pixels(page).std() > 20
        server.shutdown()
