#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the READMEs' pictures into docs/images.

    tools/readme_pictures.py             the environment `lab` as environment.<language>.svg; a test compares them
    tools/readme_pictures.py FOLDER      also the head of the report that a check left in FOLDER, as report.<language>.png

The CRM's picture comes from the browser test: `JINKU_SCREENSHOTS=$PWD/docs/images make test-browser`.
"""

import sys
from pathlib import Path

from jinku.model import Topology, load_environment
from jinku.model.diagram import diagram_svg
from jinku.places import CHECKOUT

IMAGES = CHECKOUT / "docs/images"
LANGUAGES = ("en", "zh")
PICTURES = {language: IMAGES / f"environment.{language}.svg" for language in LANGUAGES}


def picture(language: str) -> str:
    """Return the SVG text of the environment `lab`. ``language``: ``en`` or ``zh``."""
    return diagram_svg(Topology.of(load_environment("lab")), language)


def photograph(reports: Path) -> None:
    """Take the head of report.<language>.html in ``reports``, 1360 x 850 pixels, with Debian's Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this needs the packages of the tests

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1360, "height": 850})
        for language in LANGUAGES:
            page.goto((reports / f"report.{language}.html").resolve().as_uri())
            page.screenshot(path=IMAGES / f"report.{language}.png")
        browser.close()


if __name__ == "__main__":
    for language, path in PICTURES.items():
        path.write_text(picture(language), encoding="utf-8")
    if sys.argv[1:]:
        photograph(Path(sys.argv[1]))
