#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the READMEs' pictures of the lab, docs/images/environment.<language>.svg; tests/test_documents.py compares them."""

from jinku.model import Topology, load_environment
from jinku.model.diagram import diagram_svg
from jinku.places import CHECKOUT

PICTURES = {language: CHECKOUT / f"docs/images/environment.{language}.svg" for language in ("en", "zh")}


def picture(language: str) -> str:
    """Return the SVG text of the environment `lab`. ``language``: ``en`` or ``zh``."""
    return diagram_svg(Topology.of(load_environment("lab")), language)


if __name__ == "__main__":
    for language, path in PICTURES.items():
        path.write_text(picture(language), encoding="utf-8")
