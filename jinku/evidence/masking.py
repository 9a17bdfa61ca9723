# SPDX-License-Identifier: Apache-2.0
"""Personal data and secrets are masked before an output is kept: evidence is passed on to people who need neither."""

import re
from collections.abc import Callable
from dataclasses import dataclass

MASK = "‹masked›"

# Names that look like addresses of people and are none: SSH algorithms and systemd instances.
_NOT_MAIL = ("openssh.com", "libssh.org", "lysator.liu.se")
_NOT_MAIL_ENDS = (".service", ".socket", ".timer", ".slice", ".mount", ".target", ".conf", ".path", ".scope")
_ID_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


def _mail(match: re.Match[str]) -> str:
    domain = match.group(2).lower()
    if domain in _NOT_MAIL or domain.endswith(_NOT_MAIL_ENDS):
        return match.group(0)
    return f"{match.group(1)[0]}***@{MASK}"


def _identity_number(match: re.Match[str]) -> str:
    """Mask an 18-digit resident identity number if its check digit (GB 11643-1999) is right; else it is another number."""
    number = match.group(0)
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _ID_WEIGHTS, strict=True))
    return MASK if "10X98765432"[total % 11] == number[17].upper() else number


def _bank_card(match: re.Match[str]) -> str:
    """Mask a UnionPay card number (it starts with 62) whose Luhn digit is right; time stamps and counters stay."""
    digits = [int(digit) for digit in reversed(match.group(0))]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)]
    return MASK if sum(doubled) % 10 == 0 else match.group(0)


#: Ends of the names of values that are secret, case folded.
_NAMES = ("password", "passwd", "secret_id", "secret", "token", "api_key", "private_key", "unseal_key")
#: What begins before a cut and does not end there is a secret up to the cut.
_BEGUN = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*\Z", re.DOTALL), MASK),
    (
        re.compile(rf"""(?i)((?:{"|".join(_NAMES)})["']?\s*[=:]\s*)(?:"[^"]*|'[^']*)\Z"""),
        rf"\1{MASK}",
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,2}\Z"), MASK),
)
#: Characters of the longest word that :func:`shorten` drops whole.
_WORD = 4096

_Replacement = str | Callable[[re.Match[str]], str]


@dataclass(frozen=True)
class _Rule:
    """What is masked, by what. ``stands``: words (case folded) of which one is in every text that the pattern finds."""

    stands: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: _Replacement


_RULES = (
    _Rule(
        ("private key-----",),
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL),
        MASK,
    ),
    # Password hashes of crypt(3) and of PostgreSQL.
    _Rule(("$",), re.compile(r"\$(?:y|gy|7|6|5|1|2[aby]|argon2id?)\$[./A-Za-z0-9$=,+]{12,}"), MASK),
    _Rule(("scram-sha-256$",), re.compile(r"SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=$:]+"), f"SCRAM-SHA-256${MASK}"),
    _Rule(("md5",), re.compile(r"\bmd5[0-9a-f]{32}\b"), MASK),
    # Tokens of OpenBao, JSON web tokens, authorisation headers.
    _Rule(("s.", "b.", "r."), re.compile(r"\b(?:hv[sbr]|[sbr])\.[A-Za-z0-9_-]{20,}"), MASK),
    _Rule(("eyj",), re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"), MASK),
    _Rule(
        ("authorization", "x-vault-token", "cookie"),
        re.compile(r"(?i)\b(authorization|x-vault-token|set-cookie|cookie)(\s*:\s*)[^\r\n]+"),
        rf"\1\2{MASK}",
    ),
    # name=value and "name": "value" where the name says that the value is secret.
    _Rule(
        _NAMES,
        re.compile(
            rf"""(?ix)((?:"|')?\b[\w.-]*(?:{"|".join(_NAMES)})["']?
            \s*[=:]\s*)("(?:[^"\\]|\\.)+"|'[^']+'|[^\s"',;}}\]]{{4,}})"""
        ),
        rf"\1{MASK}",
    ),
    _Rule(("@",), re.compile(r"([A-Za-z0-9._%+-]+)@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,})\b"), _mail),
)
# What is found by its digits alone; one look says whether a text has so many of them in a row.
_MANY_DIGITS = re.compile(r"\d{11}")
_NUMBERS = (
    _Rule((), re.compile(r"(?<![\w.])[1-9]\d{16}[\dXx](?!\w)"), _identity_number),
    _Rule((), re.compile(r"(?<![\w.])62\d{14,17}(?!\w)"), _bank_card),
    _Rule((), re.compile(r"(?<![\w.:-])(?:\+?86[- ]?)?1[3-9]\d{9}(?![\w.])"), MASK),
)
# Settings whose name holds a secret's name but whose value is public: "passwordauthentication no", "token_ttl=1h".
_PUBLIC_VALUES = frozenset({"no", "yes", "on", "off", "true", "false", "none", "null", "scram-sha-256", "x", "*", "!"})


def mask(text: str) -> str:
    """Return ``text`` without secrets and personal data.

    Masked are private keys, password hashes, tokens, values named as secrets, e-mail addresses, Chinese mobile numbers,
    resident identity numbers and bank cards (the last two only with a right check digit). Public settings stay.
    """
    folded = text.casefold()
    rules = [rule for rule in _RULES if any(word in folded for word in rule.stands)]
    rules += _NUMBERS if _MANY_DIGITS.search(text) else ()
    for rule in rules:
        text = rule.pattern.sub(_keeping_public(rule.replacement), text)
    return text


def shorten(text: str, characters: int) -> str:
    """The first ``characters`` of ``text``, masked.

    The word that stands at the cut is dropped: half a token or half a number is no longer seen to be one.
    """
    kept = text[:characters]
    if len(text) > characters and not kept[-1].isspace():
        kept = kept[: -len(kept[-_WORD:].split()[-1])]
    kept = mask(kept)
    for pattern, replacement in _BEGUN if len(text) > characters else ():
        kept = pattern.sub(replacement, kept)
    return kept


def _keeping_public(replacement: _Replacement) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        if match.re.groups == 2 and match.group(2).strip("\"'").lower() in _PUBLIC_VALUES:
            return match.group(0)
        return match.expand(replacement) if isinstance(replacement, str) else replacement(match)

    return replace
