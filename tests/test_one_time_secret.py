# SPDX-License-Identifier: Apache-2.0
"""A person's new one-time-password secret: where it is written. What the vault makes of it is tests/vault's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hvac.exceptions import Forbidden

from jinku import people_access
from jinku.vault import VaultError

NAME = "li-na"


@pytest.fixture
def fleet(tmp_path: Path) -> Any:
    """A lab that knows one person, and made that person's key."""
    (tmp_path / "state/ssh/operators").mkdir(parents=True)
    person = SimpleNamespace(name=NAME)
    return SimpleNamespace(state=tmp_path / "state", people=(person,), person={NAME: person}.__getitem__)


def _made(*_: Any) -> str:
    return "otpauth://totp/new"


def test_what_the_lab_keeps_is_the_new_secret_too(fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`jinku login` goes by what is kept: left old, it would lock the person out."""
    monkeypatch.setattr(people_access, "new_secret", _made)
    kept, file = fleet.state / "ssh/operators/li-na.otp", tmp_path / "file"
    people_access.give_second_factor(fleet, Any, NAME, file)
    assert not kept.exists(), "nobody else's is kept"
    kept.write_text("otpauth://totp/old\n")
    kept.chmod(0o644)
    people_access.give_second_factor(fleet, Any, NAME, file)
    for path in (kept, file):
        assert path.read_text() == "otpauth://totp/new\n"
        assert path.stat().st_mode & 0o777 == 0o600
    people_access.give_second_factor(fleet, Any, NAME, kept)
    assert {path.name for path in kept.parent.iterdir()} == {"li-na.otp"}


def test_a_file_that_cannot_be_written_changes_nothing_and_a_refusal_leaves_no_old_secret(
    fleet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> str:
        raise Forbidden("permission denied")

    monkeypatch.setattr(people_access, "new_secret", refused)
    kept = fleet.state / "ssh/operators/li-na.otp"
    kept.write_text("otpauth://totp/old\n")
    with pytest.raises(OSError, match="No such file"):
        people_access.give_second_factor(fleet, Any, NAME, tmp_path / "nowhere/file")
    assert kept.read_text() == "otpauth://totp/old\n"
    with pytest.raises(VaultError, match="is not made"):
        people_access.give_second_factor(fleet, Any, NAME, tmp_path / "file")
    assert list(kept.parent.iterdir()) == []
    assert not (tmp_path / "file").exists()
