# SPDX-License-Identifier: Apache-2.0
"""`jinku secret` before the vault is asked: what is taken, what is refused with words that repeat nothing of it, and who needs it."""

import io
import json
import os
import pty
import sys
from contextlib import contextmanager, suppress
from types import SimpleNamespace

import click
import pytest
import yaml
from command_line import run
from hvac.exceptions import Forbidden, InternalServerError

from jinku.cli import secret as verb
from jinku.cli import status as status_verb
from jinku.cli import up as up_verb
from jinku.cli.exit_codes import ExitCode
from jinku.cli.selection import Selection
from jinku.model import Topology, load_environment
from jinku.pki import PkiError
from jinku.places import CHECKOUT, Places
from jinku.vault import VaultError, owner_secrets
from jinku.vault.owner_secrets import SECRETS, Need, need_of, readers

ROOM, UPS = SECRETS
GOOD = {"user": "monitor", "authentication": "abcdefgh-1._~+/:@%!*", "privacy": "abcdefgh2"}
TOLD = "8 to 255 letters, digits and ._~+/:@%!*- (SNMPv3: RFC 3414)"
DEVICE = {"address": "10.20.0.200", "points": [{"quantity": "water", "place": "floor", "oid": "1.3.6.1.4.1.99999.1"}]}
MACHINE = {"address": "10.20.0.202", "name": "power.example.internal"}


@pytest.fixture(autouse=True)
def _places(own_places):
    """No test here touches anybody's state."""


def written(tmp_path, **room):
    """An environment of hosts that exist, with these things in its machine room."""
    folder = tmp_path / "mine"
    folder.mkdir(exist_ok=True)
    data = yaml.safe_load((CHECKOUT / "inventories/small/environment.yaml").read_text(encoding="utf-8"))
    (folder / "environment.yaml").write_text(yaml.safe_dump({**data, "name": "mine", "room": room}))
    return folder


class Vault:
    """Knows what is there and takes what is written; `error` comes instead of an answer."""

    def __init__(self, names=(), error=None):
        self.kept, self.error = {name: {} for name in names}, error

    def list(self, path):
        found = [name.rpartition("/")[2] for name in self.kept if name.startswith(f"{path}/")]
        return {"data": {"keys": found}} if found else None

    def read(self, path):
        raise AssertionError(f"{path}: no value is read back")

    def write_data(self, path, data):
        if self.error:
            raise self.error
        self.kept[path] = data


@pytest.fixture
def at(monkeypatch):
    """Lets the verb find a vault, or an error on the way to it, and what is typed or piped; says how often it was asked."""

    def begin(vault, given=None):
        asked = []

        @contextmanager
        def way(_fleet, _config=None):
            asked.append("way")
            if isinstance(vault, Exception):
                raise vault
            yield type("Door", (), {"wait_until_active": lambda *_: None, "server_name": "vault.mine"})()

        @contextmanager
        def login(_fleet, _door):
            yield vault

        monkeypatch.setattr(verb, "is_up", lambda _places: True)
        monkeypatch.setattr(owner_secrets, "through_the_bastion", way)
        monkeypatch.setattr(owner_secrets, "manager", login)
        if given is not None:
            data = given if isinstance(given, bytes) else given.encode()
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        return asked

    return begin


def lines(values):
    return "".join(f"{key}={value}\n" for key, value in values.items())


def test_devices_of_the_owner_need_a_secret_of_the_owner(tmp_path):
    lab = Topology.of(load_environment("lab"))
    assert [need_of(secret, lab) for secret in SECRETS] == [Need.JINKU, Need.JINKU]
    assert readers(ROOM, lab) == ["ops1", "room1"]
    assert readers(UPS, lab) == [node.name for node in lab.nodes]
    bare = Topology.of(load_environment(written(tmp_path)))
    assert [need_of(secret, bare) for secret in SECRETS] == [Need.NOBODY, Need.NOBODY]
    assert readers(ROOM, bare) == readers(UPS, bare) == []
    own = Topology.of(load_environment(written(tmp_path, devices={"aisle-1": DEVICE}, ups={"b": MACHINE})))
    assert [need_of(secret, own) for secret in SECRETS] == [Need.OWNER, Need.OWNER]
    assert readers(ROOM, own) == ["ops1"]
    assert readers(UPS, own) == [node.name for node in own.nodes if node.site == "b"]


def test_a_secret_is_put_and_what_happens_next_is_said(tmp_path, capsys, at):
    folder = written(tmp_path, devices={"aisle-1": DEVICE})
    vault = Vault()
    at(vault, lines(GOOD))
    assert run("secret", "put", "room", "--env", folder) == ExitCode.OK
    said = capsys.readouterr()
    assert vault.kept == {"kv/monitor/room": GOOD}
    assert said.out.splitlines() == [
        "room: the account of the sensors is in the vault (kv/monitor/room)",
        "the agents of ops1 fetch it within minutes; then no SensorSilent is left: `jinku ssh ops1 -- sudo amtool alert`",
    ]
    at(vault, json.dumps(GOOD))
    assert run("secret", "put", "room", "--env", folder) == ExitCode.OK
    again = capsys.readouterr()
    assert "room: the account of the sensors is replaced in the vault" in again.out
    assert not any(value in said.out + said.err + again.out + again.err for value in list(GOOD.values())[1:])


def test_what_nobody_fetches_yet_is_put_all_the_same(tmp_path, capsys, at):
    """Before the devices stand in environment.yaml: so no alarm comes in between."""
    at(vault := Vault(), lines({"user": "host", "password": "abcdefgh"}))
    assert run("secret", "put", "ups", "--env", written(tmp_path)) == ExitCode.OK
    assert list(vault.kept) == ["kv/power/host"]
    assert "nobody fetches it: room.ups names nothing; write it into" in capsys.readouterr().out


def test_a_wrong_shape_is_told_before_the_vault_is_asked(tmp_path, capsys, at):
    asked = at(Vault(), "user=monitor\nprivacy=abc")
    assert run("secret", "put", "room", "--env", written(tmp_path)) == ExitCode.USAGE
    assert asked == []
    assert capsys.readouterr().err.splitlines() == [
        f"room: authentication: is missing; {TOLD}",
        f"room: privacy: is too short; {TOLD}",
    ]


@pytest.mark.parametrize(
    "words", [("geheim-42",), ("room", "geheim-42"), ("room", "user=geheim-42"), ("room", "--geheim-42=x")]
)
def test_a_value_among_the_arguments_is_refused_and_not_repeated(tmp_path, capsys, at, words):
    asked = at(Vault(), lines(GOOD))
    assert run("secret", "put", *words, "--env", written(tmp_path)) == ExitCode.USAGE
    said = capsys.readouterr()
    assert asked == []
    assert said.out == ""
    if not words[-1].startswith("--"):
        assert "geheim" not in said.err
        assert "secret put: NAME: " in said.err


def test_a_person_is_asked_twice_and_sees_nothing(tmp_path, capsys, monkeypatch, at):
    """The stand-in for the terminal answers as a person types; click hides what it asks with `hide_input`."""
    answers, asked = dict(GOOD), []

    def prompt(text, **how):
        asked.append((text, how["hide_input"], how["confirmation_prompt"], how["err"]))
        return answers[text]

    at(vault := Vault(), "")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    folder = written(tmp_path, devices={"aisle-1": DEVICE})
    assert run("secret", "put", "room", "--env", folder) == ExitCode.OK
    assert asked == [(key, True, True, True) for key in GOOD]
    assert vault.kept == {"kv/monitor/room": GOOD}
    answers["privacy"] = "abc"
    assert run("secret", "put", "room", "--env", folder) == ExitCode.USAGE
    assert f"room: privacy: is too short; {TOLD}" in capsys.readouterr().err


def test_a_terminal_shows_nothing_of_what_is_typed(tmp_path):
    """The verb as a process of its own, on a terminal; it ends before a vault is asked, for what is typed holds blanks."""
    folder = written(tmp_path)
    config = Places("mine").ssh_config
    config.parent.mkdir(parents=True)
    config.touch()
    child, terminal = pty.fork()
    if not child:
        words = ["-c", "from jinku.cli import main; main()", "secret", "put", "ups", "--env", str(folder)]
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - getpass opens the terminal of its own process
    shown = ""
    for asked in ("user: ", "Repeat for confirmation: ", "password: ", "Repeat for confirmation: "):
        until = len(shown)
        while not shown[until:].endswith(asked):
            shown += os.read(terminal, 4096).decode()
        os.write(terminal, b"sommer am see\n")
    with suppress(OSError):  # the far end is closed
        while more := os.read(terminal, 4096):
            shown += more.decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == ExitCode.USAGE
    assert "ups: user: holds another sign" in shown
    assert "ups: password: holds another sign" in shown
    assert "sommer" not in shown


def test_whoever_interrupts_the_questions_has_put_nothing(tmp_path, capsys, monkeypatch, at):
    def prompt(*_words, **_how):
        raise click.Abort

    asked = at(Vault(), "")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr(click, "prompt", prompt)
    assert run("secret", "put", "room", "--env", written(tmp_path)) == ExitCode.INTERRUPTED
    assert asked == []
    assert "interrupted" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Forbidden("denied: abcdefgh2"), "vault.mine: does not let the duty manager do this; `jinku up` brings"),
        (InternalServerError("could not write abcdefgh2"), "vault.mine: InternalServerError; `jinku status`"),
    ],
)
def test_a_vault_that_refuses_is_told_without_its_own_words(tmp_path, capsys, at, error, said):
    at(Vault(error=error), lines(GOOD))
    assert run("secret", "put", "room", "--env", written(tmp_path)) == ExitCode.FAILED
    told = capsys.readouterr()
    assert told.err.startswith(said)
    assert "abcdefgh" not in told.err + told.out


@pytest.mark.parametrize(
    "error", [VaultError("vault: sealed; `jinku unseal`"), PkiError("operators: kept elsewhere; bring it")]
)
@pytest.mark.parametrize("words", [("put", "room"), ("list",)])
def test_a_vault_that_cannot_be_asked_is_a_line_and_no_traceback(tmp_path, capsys, at, error, words):
    at(error, lines(GOOD))
    assert run("secret", *words, "--env", written(tmp_path)) == ExitCode.FAILED
    assert capsys.readouterr().err.strip() == str(error)


@pytest.mark.parametrize("words", [("put", "room"), ("list",)])
def test_without_an_environment_there_is_no_vault(tmp_path, capsys, words):
    assert run("secret", *words, "--env", written(tmp_path)) == ExitCode.PREREQUISITE
    assert "is not up; `jinku up`" in capsys.readouterr().err


def test_the_list_says_what_is_missing_and_ends_with_one(tmp_path, capsys, at):
    folder = written(tmp_path, devices={"aisle-1": DEVICE}, ups={"a": MACHINE})
    at(Vault(["kv/power/host", "kv/power/primary"]))
    assert run("secret", "list", "--env", folder) == ExitCode.FAILED
    said = capsys.readouterr()
    assert [line.split("\t") for line in said.out.splitlines()] == [
        ["secret", "what", "comes from", "in the vault", "keys"],
        ["room", "the account of the sensors", "owner", "no", "user,authentication,privacy"],
        ["ups", "the account of the UPS", "owner", "yes", "user,password"],
    ]
    assert said.err.strip() == (
        "room: the account of the sensors (room.devices) is not in the vault; `jinku secret put room`"
    )


def test_a_secret_that_nobody_needs_is_not_missing(tmp_path, capsys, at):
    at(Vault())
    assert run("secret", "list", "--env", written(tmp_path)) == ExitCode.OK
    assert "not needed\tno" in capsys.readouterr().out


def test_programs_get_the_list_as_json(tmp_path, capsys, at):
    at(Vault(["kv/monitor/room"]))
    assert run("secret", "list", "--json", "--env", written(tmp_path, devices={"aisle-1": DEVICE})) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["environment"]) == ("jinku/secrets/1", "mine")
    assert found["secrets"] == [
        {"name": "room", "path": "kv/monitor/room", "keys": list(GOOD), "from": "owner", "there": True},
        {"name": "ups", "path": "kv/power/host", "keys": ["user", "password"], "from": "nobody", "there": False},
    ]


def test_whoever_reads_no_further_has_what_they_wanted(tmp_path, monkeypatch, at):
    def gone(*_words):
        raise BrokenPipeError

    at(Vault())
    monkeypatch.setattr(verb, "print_table", gone)
    monkeypatch.setattr("jinku.cli.listing.silence", lambda: None)
    assert run("secret", "list", "--env", written(tmp_path)) == ExitCode.OK


def test_up_and_status_name_what_the_owner_has_not_put_there(tmp_path, at):
    bare = Selection.of(str(written(tmp_path)))
    asked = at(Vault())
    assert verb.lacking(bare) == []
    assert asked == [], "nothing is needed, so nobody is asked"
    own = Selection.of(str(written(tmp_path, devices={"aisle-1": DEVICE})))
    assert verb.lacking(own) == [
        "room: the account of the sensors (room.devices) is not in the vault; `jinku secret put room`"
    ]
    at(VaultError("sealed"))
    assert verb.lacking(own) == [], "status says itself that the vault is sealed"


@pytest.mark.parametrize(
    ("reachable", "sealed", "asks"), [(True, False, True), (False, None, False), (True, True, False)]
)
def test_status_asks_no_vault_that_cannot_answer(reachable, sealed, asks):
    node = status_verb.status.NodeStatus(
        "sec1", "a", "trust", ("vault",), reachable, "running", (), {}, "", "", sealed=sealed
    )
    assert status_verb._open([node]) is asks


def test_the_last_lines_of_up_and_status_have_it(tmp_path, capsys, monkeypatch, at):
    folder = written(tmp_path, devices={"aisle-1": DEVICE})
    said = "room: the account of the sensors (room.devices) is not in the vault; `jinku secret put room`"
    at(Vault())
    told = []
    progress = SimpleNamespace(stages=[], line=lambda text, *_: told.append(text))
    up_verb._last_lines(Selection.of(str(folder)), up_verb._Outcome(), progress, 1.0)
    assert told[-1] == said
    monkeypatch.setattr(status_verb, "is_up", lambda _places: True)
    monkeypatch.setattr(status_verb.status, "look", lambda *_: [])
    monkeypatch.setattr(status_verb.backups, "newest", lambda *_: [])
    assert run("status", "--env", folder) == ExitCode.OK
    assert capsys.readouterr().out.splitlines()[-1] == said
