# SPDX-License-Identifier: Apache-2.0
"""Sphinx: the docs site in English, and with `-t zh` in Chinese. A page PAGE.en.md has its twin PAGE.zh.md beside it."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))

import reference_pages  # noqa: E402 - a tool of the checkout, found by the line above

chinese = tags.has("zh")  # type: ignore[name-defined]  # noqa: F821 - Sphinx gives it to this file
ours, theirs = ("zh", "en") if chinese else ("en", "zh")

project = "Jinku 金库"
author = "The Jinku authors"
language = "zh_CN" if chinese else "en"
root_doc = f"index.{ours}"
source_suffix = {".md": "markdown"}
extensions = ["myst_parser"]
exclude_patterns = [f"**/*.{theirs}.md", f"*.{theirs}.md", *(["adr"] if chinese else [])]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "金库 Jinku 手册" if chinese else "Jinku manual"
html_show_copyright = False
html_show_sphinx = False
html_context = {"twin": theirs}
templates_path = ["_templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "twin.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}

reference_pages.write(HERE / "_generated", ours)
