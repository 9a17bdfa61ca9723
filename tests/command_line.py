# SPDX-License-Identifier: Apache-2.0
"""`jinku` in the process of a test; with the fixture `own_places` (conftest.py) it touches nobody's state."""

import pytest

from jinku import cli


def run(*words: object) -> int | str | None:
    """Exit code of `jinku WORDS`; output goes where capsys finds it."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(word) for word in words])
    return ended.value.code
