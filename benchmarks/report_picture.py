"""The picture in docs/report.md: a scan's page in a browser, with raw intensity as the score and the expert's outline.

    python benchmarks/report_picture.py CASE_FOLDER docs/images/report-viewer.png

CASE_FOLDER is a BraTS case of TCIA origin (CC BY 3.0). Needs `pip install 'semcycle[browser]'` and Chromium.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.report.scan_page import ScanReport, write_scan_page
from semcycle.volume import load_mask, load_volume


def make_page(case: Path, folder: Path) -> Path:
    """A page of the case: the score is the scaled intensity beyond the brain's median, the mask is the expert's."""
    volume = load_volume(case / f"{case.name}_t2.nii.gz")
    prepared = preprocess(volume, PreprocessSettings())
    scaled = prepared.record.scale.forward(volume.data)
    middle = float(np.median(scaled[prepared.brain_native]))
    scores = np.where(prepared.brain_native, np.clip(scaled - middle, 0, 1), 0).astype(np.float32)
    truth = load_mask(case / f"{case.name}_seg.nii.gz", volume)
    report = ScanReport(
        case.name, volume.data, volume.affine, prepared.brain_native, scores, lesion=truth, threshold=0.25
    )
    return write_scan_page(folder / "page.html", report)


def photograph(page: Path, out: Path) -> None:
    """Save the viewer as the browser shows it, in 256 colours."""
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--disable-gpu"])
        shown = browser.new_page(viewport={"width": 1100, "height": 800})
        shown.goto(page.as_uri())
        shown.wait_for_selector("#viewer[data-ready]")
        raw = Path(folder) / "raw.png"
        shown.locator("#viewer").screenshot(path=raw)
        browser.close()
        Image.open(raw).convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        photograph(make_page(Path(sys.argv[1]).resolve(), Path(made)), Path(sys.argv[2]))
