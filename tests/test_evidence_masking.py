# SPDX-License-Identifier: Apache-2.0
"""What is kept of an output holds no secret and no personal data, and stays readable."""

from types import SimpleNamespace

import pytest

from jinku.evidence.masking import MASK, mask, shorten
from jinku.evidence.outcome import verdict_of


@pytest.mark.parametrize(
    "text",
    [
        "passwordauthentication no",
        "kexalgorithms curve25519-sha256@libssh.org,sntrup761x25519-sha512@openssh.com",
        "user@1000.service loaded active",
        "password_encryption = scram-sha-256",
        "root:!:20000:0:99999:7:::",
        "1732412345678901234 17 2026-11-24T01:02:03Z",
        "10.77.0.164:6514",
    ],
)
def test_settings_stay_readable(text):
    assert mask(text) == text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("root:$y$j9T$abcdefgh$klmnopqrstuvwxyz0123456789:1::", "klmnop"),
        ("SCRAM-SHA-256$4096:abcd==$efgh=:ijkl=", "abcd"),
        ('{"secret_id": "0b1c-2d3e"}', "0b1c"),
        ("Authorization: Bearer abcdef", "abcdef"),
        ("mail zhang.san@corp.example.cn", "corp"),
        ("phone 13812345678,", "13812345678"),
        ("id 11010519491231002X", "11010519491231002X"),
        ("card 6222021234567890128", "62220212345678901"),
        ("-----BEGIN PRIVATE KEY-----\nMIIabc\n-----END PRIVATE KEY-----", "MIIabc"),
    ],
)
def test_secrets_and_personal_data_are_masked(text, secret):
    assert secret in text
    assert secret not in mask(text)
    assert MASK in mask(text)


HELD = (
    ("token hvs.CAESIJabcdefgh0123456789", "hvs.CAES"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeKKF2QT4", "eyJhbGciOiJI"),
    ("phone 13812345678 ", "1381234"),
    ("mail zhang.san@corp.example.cn", "zhang"),
    ("-----BEGIN EC PRIVATE KEY-----\nMIIabc\nMIIdef\n-----END EC PRIVATE KEY-----", "MIIabc"),
    ('{"password": "correct horse battery staple"}', "correct"),
    ("secret: 'correct horse\nbattery staple'", "correct"),
)


@pytest.mark.parametrize(("text", "secret"), HELD)
def test_a_secret_at_the_cut_is_kept_in_no_part(text, secret):
    whole = "x" * 50 + "\n" + text + "\n" + "y" * 9000
    for cut in range(51, 52 + len(text)):
        kept = shorten(whole, cut)
        assert secret not in kept, kept
        assert len(kept) <= cut + 3 * len(MASK)


def test_a_long_token_that_was_cut_is_kept_in_no_part():
    assert "eyJh" not in shorten("eyJh" + "a" * 6000 + "." + "b" * 6000 + ".c", 9000)


@pytest.mark.parametrize(
    "text", ["grep: -----BEGIN RSA PRIVATE KEY----- found in a\nsecond\nthird", "the secret: 'tis kept\nsecond\nthird"]
)
def test_what_was_not_cut_and_only_looks_like_a_beginning_hides_nothing_behind_it(text):
    assert "third" in mask(text)


def test_what_is_short_enough_is_kept_whole():
    assert shorten("net.ipv4.ip_forward = 0\n", 24) == "net.ipv4.ip_forward = 0\n"
    assert shorten("one two three", 9) == "one two "
    assert len(shorten("z" * 100_000, 40_000)) == 40_000 - 4096


@pytest.mark.parametrize(
    "text",
    [
        "PASSWORD=hunter22",
        "Set-Cookie: session=abcdef",
        "COOKIE: a=bcdef",
        "x-VAULT-token: abcdef",
        "b.AAAAAQKabcdefghijklmnopqrst",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "+86 13812345678",
        "Unseal_Key=abcdefgh",
    ],
)
def test_the_word_by_which_a_rule_is_found_stands_in_whatever_it_masks(text):
    assert MASK in mask(text)


def test_a_reason_of_a_finding_is_cut_before_it_is_masked():
    report = SimpleNamespace(passed=False, skipped=False, when="call")
    text = "x" * 590 + " 13812345678 and more " + "y" * 200
    for cut in range(20):
        call = SimpleNamespace(excinfo=SimpleNamespace(value=AssertionError(text[cut:])))
        assert "138" not in verdict_of(call, report)[1].text
