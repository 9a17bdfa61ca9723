# SPDX-License-Identifier: Apache-2.0
"""Files of shares are their owner's alone, whatever lay there before."""

import base64
from pathlib import Path

import pytest

from jinku.vault.shares import hand_over, holds, keep, reserve

SHARE = base64.b64encode(b"encrypted").decode()


def test_a_share_goes_through_no_link_and_no_file_that_others_read(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.touch(0o644)
    (tmp_path / ".share.li-na.gpg.draft").symlink_to(elsewhere)
    loose = tmp_path / ".share.wang-fang.gpg.draft"
    loose.touch()
    loose.chmod(0o644)
    for name in ("li-na", "wang-fang"):
        file = tmp_path / f"share.{name}.gpg"
        hand_over(file, SHARE)
        assert (file.read_bytes(), file.stat().st_mode & 0o777, file.is_symlink()) == (b"encrypted", 0o600, False)
    assert elsewhere.read_bytes() == b""


def test_the_record_of_shares_goes_through_no_link_and_no_file_that_others_read(tmp_path: Path) -> None:
    draft, file = tmp_path / ".recovery.json.draft", tmp_path / "recovery.json"
    draft.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        reserve(file)
    draft.unlink()
    draft.write_text("longer than what comes")
    draft.chmod(0o644)
    reserve(file)
    keep(file, "{}")
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("{}", 0o600)


def test_a_share_that_was_cut_short_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "new-share.li-na.gpg"
    assert not holds(file, SHARE)
    file.write_bytes(b"enc")
    assert not holds(file, SHARE)
    hand_over(file, SHARE)
    assert holds(file, SHARE)
