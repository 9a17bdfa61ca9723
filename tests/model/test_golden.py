# SPDX-License-Identifier: Apache-2.0
"""What the model renders of the worked examples, and the schema for editors: as it lies in the repository."""

import shutil
import subprocess
from pathlib import Path

import pytest

from jinku.model import Topology, load_environment
from jinku.model.rendering import renderings
from jinku.model.schema import SCHEMA_FILE, schema_text

GOLDEN = Path(__file__).parent.parent / "golden"
EXAMPLES = ("lab", "small", "standard")


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_loads_and_renders(name: str) -> None:
    assert "inventory.json" in renderings(Topology.of(load_environment(name)))


@pytest.mark.parametrize("name", EXAMPLES)
def test_renderings_are_the_golden_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python tests/model/test_golden.py` writes them anew; the diff is what a change of the model does to hosts."""
    monkeypatch.setenv("JINKU_STATE_DIR", "/state")
    rendered = renderings(Topology.of(load_environment(name)))
    lying = {
        str(path.relative_to(GOLDEN / name)): path.read_bytes().decode()
        for path in (GOLDEN / name).rglob("*")
        if path.is_file()
    }
    assert rendered.keys() == lying.keys()
    for file, text in rendered.items():
        assert text == lying[file], file


def test_the_schema_for_editors_is_current() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text()


@pytest.mark.skipif(not shutil.which("nft") or not shutil.which("unshare"), reason="nft is installed by `make up`")
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_ruleset_is_accepted_by_nft(name: str, tmp_path: Path) -> None:
    for file, text in renderings(Topology.of(load_environment(name))).items():
        if file.endswith(".nft"):
            ruleset = tmp_path / "ruleset.nft"
            ruleset.write_text(text)
            subprocess.run(
                ["unshare", "--user", "--map-root-user", "--net", "nft", "--check", "--file", str(ruleset)], check=True
            )


if __name__ == "__main__":
    import os

    os.environ["JINKU_STATE_DIR"] = "/state"
    for example in EXAMPLES:
        for name, text in renderings(Topology.of(load_environment(example))).items():
            path = GOLDEN / example / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
