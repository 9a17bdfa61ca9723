# SPDX-License-Identifier: Apache-2.0
"""What `jinku unseal` and `jinku rekey` take from standard input for a share."""

import io

import pytest

from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.unseal import asked_share

HEX, BASE64 = "0a" * 33, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g"


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))


@pytest.mark.parametrize("share", [HEX, HEX.upper(), BASE64])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \nmore"])
def test_a_share_is_one_line_however_it_ends(monkeypatch: pytest.MonkeyPatch, share: str, end: str) -> None:
    piped(monkeypatch, (share + end).encode())
    assert asked_share("share 1 of 2") == share


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xc1\xc0L\x03 still encrypted", "is no share"),
        (b"-----BEGIN PGP MESSAGE-----\n", "is no share"),
        (b"geheim geheim\n", "is no share"),
        (b"\0" * 5000, "is no share"),
    ],
)
def test_what_is_no_share_is_refused_in_a_line_that_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch, data: bytes, said: str
) -> None:
    """Such as a file that somebody forgot to decrypt."""
    piped(monkeypatch, data)
    with pytest.raises(Failure, match=f"^standard input: {said}") as refused:
        asked_share("share 1 of 2")
    assert refused.value.code == ExitCode.USAGE
    assert "geheim" not in str(refused.value)
