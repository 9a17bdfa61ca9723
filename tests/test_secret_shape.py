# SPDX-License-Identifier: Apache-2.0
"""What `jinku secret put` takes for a secret, and what it refuses with words that repeat nothing of it."""

import json
import re

import pytest
import yaml

from jinku.model import InputError
from jinku.places import CHECKOUT
from jinku.vault.owner_secrets import SECRETS, read
from jinku.vault.policies import FOLDER

ROOM, UPS = SECRETS
GOOD = {"user": "monitor", "authentication": "abcdefgh-1._~+/:@%!*", "privacy": "abcdefgh2"}
TOLD = "8 to 255 letters, digits and ._~+/:@%!*- (SNMPv3: RFC 3414)"


def lines(values):
    return "".join(f"{key}={value}\n" for key, value in values.items())


@pytest.mark.parametrize(
    "text",
    [
        lines(GOOD),
        lines(GOOD).replace("\n", "\r\n"),
        "\ufeff" + lines(GOOD),
        "\n" + lines(GOOD).replace("user=", " user ="),
        json.dumps(GOOD),
        "  " + json.dumps(GOOD, indent=1),
    ],
)
def test_lines_and_json_are_taken(text):
    assert read(ROOM, text.encode()) == GOOD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"authentication": "abcdefg"}, f"room: authentication: is too short; {TOLD}"),
        ({"privacy": "x" * 256}, f"room: privacy: is too long; {TOLD}"),
        ({"user": "u" * 33}, "room: user: is too long; 1 to 32 letters, digits and ._~+/:@%!*- (SNMPv3: RFC 3414)"),
        (
            {"privacy": "abcdefgh ij"},
            f"room: privacy: holds another sign, which could end a word or a line of a file; {TOLD}",
        ),
        (
            {"privacy": "abcdefghé"},
            f"room: privacy: holds another sign, which could end a word or a line of a file; {TOLD}",
        ),
        (
            {"privacy": "abcdefgh\nrouser eve"},
            f"room: privacy: holds another sign, which could end a word or a line of a file; {TOLD}",
        ),
        (
            {"privacy": "abcdefgh\n"},
            f"room: privacy: holds another sign, which could end a word or a line of a file; {TOLD}",
        ),
        ({"privacy": ""}, f"room: privacy: is empty; {TOLD}"),
        ({"privacy": 1234567890}, "room: privacy: is no text; text in quotes"),
        ({"privacy": None}, "room: privacy: is no text; text in quotes"),
        (
            {"auth_protocol": "MD5"},
            "room: key 4: its key is unknown; one of user, authentication, privacy (the protocols are SHA-256 and AES, and not given)",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_would_be_right(change, said):
    with pytest.raises(InputError) as refused:
        read(ROOM, json.dumps(GOOD | change).encode())
    assert refused.value.problems == [said]


def test_all_that_is_wrong_is_told_at_once_and_nothing_of_it_repeated():
    text = "user=\nsommer-am-see\nauthentification=geheimnis\nprivacy=kurz\nprivacy=nochmal"
    with pytest.raises(InputError) as refused:
        read(ROOM, text.encode())
    assert [problem.partition(";")[0] for problem in refused.value.problems] == [
        "room: line 2: has no =",
        "room: line 3: its key is unknown",
        "room: privacy: is given twice",
        "room: user: is empty",
        "room: authentication: is missing",
        "room: privacy: is too short",
    ]
    assert not re.search("sommer|authentification|geheimnis|kurz|nochmal", str(refused.value))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"user=\xff\xfe", "is not UTF-8 text"),
        (b'{"user": "geheim"', "is not JSON (line 1, column 18)"),
        (b'{"a":' * 13000, "is not JSON"),
        (b"x" * (64 * 1024 + 1), "is larger than 64 KiB"),
    ],
)
def test_what_is_no_secret_at_all_is_refused_in_a_line(data, said):
    with pytest.raises(InputError) as refused:
        read(UPS, data)
    (problem,) = refused.value.problems
    assert problem.startswith(
        f"ups: standard input: {said}; a JSON object or lines key=value, with the keys user, pass"
    )
    assert "geheim" not in problem


def test_a_key_twice_in_json_is_told_and_a_list_as_a_value_too():
    with pytest.raises(InputError) as refused:
        read(UPS, b'{"user": "host", "user": "host", "password": {"a": []}}')
    assert refused.value.problems == [
        "ups: user: is given twice; once",
        "ups: password: is no text; text in quotes",
    ]


def test_the_signs_are_those_that_the_agents_take():
    """A value that the templates leave out would be in the vault, and nobody would hear of it."""
    room, power = (
        (CHECKOUT / path).read_text(encoding="utf-8")
        for path in (
            "roles/room/templates/etc/jinku/agent.d/room.hcl.j2",
            "hardening/power/templates/etc/jinku/agent.d/power.hcl.j2",
        )
    )
    for part in (*ROOM.parts, UPS.parts[1]):
        assert part.signs == "._~+/:@%!*-"
    assert '"^[A-Za-z0-9._~+/:@%!*-]+( [A-Za-z0-9._~+/:@%!*-]+){2}$"' in room
    assert UPS.parts[0].signs == "_-"
    for user, password in (re.findall(r'regexMatch "(\^[^ ]*?\$)"', text)[-2:] for text in (room, power)):
        assert (user, password) == ("^[A-Za-z0-9_-]+$", "^[A-Za-z0-9._~+/:@%!*-]+$")


def test_what_the_manager_may_replace_is_what_people_bring():
    """Whoever adds a secret that people bring is told that the verb does not know it."""
    said = yaml.safe_load((FOLDER / "manager.expect.yaml").read_text())
    replaced = {path for path, may in said.items() if path.startswith("kv/") and "update" in may}
    assert replaced == {secret.path for secret in SECRETS} | {"kv/power/primary"}
    assert all("read" not in said[path] for path in replaced)
