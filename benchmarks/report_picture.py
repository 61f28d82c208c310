"""The picture of a scan's page in README and docs/report.md: the viewer as a browser shows it.

    semcycle predict SCAN.nii.gz --out D
    python benchmarks/report_picture.py D/SCAN_report.html docs/images/report-viewer.png

Take a scan whose licence allows its picture. Needs `pip install 'semcycle[browser]'` and Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright


def photograph(page: Path, out: Path) -> None:
    """Save the viewer in 256 colours."""
    with sync_playwright() as driver, tempfile.TemporaryDirectory() as folder:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--disable-gpu", "--no-sandbox"]
        )
        shown = browser.new_page(viewport={"width": 1100, "height": 800})
        shown.goto(page.resolve().as_uri())
        shown.wait_for_selector("#viewer[data-ready]")
        raw = Path(folder) / "raw.png"
        shown.locator("#viewer").screenshot(path=raw)
        browser.close()
        Image.open(raw).convert("RGB").quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), Path(sys.argv[2]))
