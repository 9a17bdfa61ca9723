# SPDX-License-Identifier: Apache-2.0
"""New shares for the operators who are here: the old ones are void from when the new ones were tried, and not before.

The tests share one vault, whose shares change; each begins with those that hold.
"""

import io
import json
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from command_line import run
from openpgp import gpg
from rekey_house import LATER, TEAM, House, by_itself, kept, left_behind

from jinku.cli import rekey as command
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.holders import left_with_a_share
from jinku.vault import VaultError, initialise, operator
from jinku.vault.rekey import Step, new_share_file
from jinku.vault.shares import give, seal_of, share_file

pytestmark = [pytest.mark.openbao, pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")]
SEAL = "shamir"
NONSENSE = "00" * 33


def test_shares_that_lie_in_a_file_are_replaced_in_one_go(house: House) -> None:
    before = kept(house)
    with house.rekey() as one:
        assert by_itself(one) == Step("taken")
    after = kept(house)
    assert (after["threshold"], len(after["shares"]), after["encrypted"]) == (3, 5, False)
    assert not set(after["shares"]) & set(before["shares"])
    assert (house.folder / "recovery.json").stat().st_mode & 0o777 == 0o600
    house.restart(*after["shares"][1:4])
    assert left_behind(house) == []


def test_too_few_keys_and_none_where_there_were_some_are_refused_before_anything_begins(team: House) -> None:
    with team.rekey(*TEAM[:2]) as one, pytest.raises(VaultError, match="2 OpenPGP keys; at least 3"):
        one.begin()
    with team.rekey() as one, pytest.raises(VaultError, match="no OpenPGP key, and the shares are encrypted"):
        one.begin()
    files = {path: path.read_bytes() for path in team.folder.glob("share.*.gpg")}
    for path in files:
        path.unlink()  # handed over: the shares are encrypted all the same, and none comes in clear after them
    with team.rekey() as one, pytest.raises(VaultError, match="no OpenPGP key, and the shares are encrypted"):
        one.begin()
    for path, share in files.items():
        path.write_bytes(share)
    with team.rekey(*TEAM) as one:
        assert not one.cancel()


def test_a_wrong_share_is_refused_and_the_count_begins_anew(team: House) -> None:
    assert team.give(TEAM, team.share("li.wei")).given == 1
    with pytest.raises(VaultError, match="update is refused") as refused:
        team.give(TEAM, team.share("li.wei"))  # the same once more
    assert team.share("li.wei") not in str(refused.value)
    with pytest.raises(VaultError, match="update is refused"):
        team.give(TEAM, NONSENSE)
    with team.rekey(*TEAM) as one:
        assert one.begin() == Step("old", 0, 2, TEAM)
    step = team.to_the_new_ones()
    assert (step.stage, step.given) == ("new", 0)
    team.give(TEAM, team.share("li.wei", new=True))
    with pytest.raises(VaultError, match="verify is refused"):  # an old one where a new one is wanted
        team.give(TEAM, team.share("zhang.min"))
    with team.rekey(*TEAM) as one:
        assert one.begin().given == 0
        assert one.cancel()


def test_a_rekey_that_is_cancelled_leaves_the_old_shares(team: House) -> None:
    before = kept(team)
    team.to_the_new_ones()
    void = [team.share(name, new=True) for name in TEAM[:2]]
    team.give(TEAM, void[0])
    with team.rekey(*TEAM) as one:
        assert one.cancel()
        assert not one.cancel()
    assert kept(team) == before
    assert left_behind(team) == []
    with pytest.raises(VaultError, match="the share is refused"):
        team.restart(*void)
    team.restart(team.share("li.wei"), team.share("wang.fang"))


def test_somebody_elses_rekey_gets_no_share_of_ours(team: House) -> None:
    fleet = team.fleet(*TEAM)
    with operator(fleet, team.world.door, "recovery") as client:
        client.adapter.put("/v1/sys/rotate/root/init", json={"secret_shares": 1, "secret_threshold": 1})
    with team.rekey(*TEAM) as one, pytest.raises(VaultError, match=r"not begun here.*--cancel"):
        one.begin()
    with team.rekey(*TEAM) as one:
        assert one.cancel()
        one.begin()
    nonce = json.loads((team.folder / "rekey.json").read_text())["nonce"]
    with operator(
        fleet, team.world.door, "recovery"
    ) as client:  # ours is ended and another begun between two of our calls
        client.adapter.delete("/v1/sys/rotate/root/init")
        client.adapter.put("/v1/sys/rotate/root/init", json={"secret_shares": 1, "secret_threshold": 1})
    with team.rekey(*TEAM) as one:
        with pytest.raises(VaultError, match="incorrect nonce"):
            one.give(team.share("li.wei"))
        assert nonce == json.loads((team.folder / "rekey.json").read_text())["nonce"]
        assert one.cancel()


def test_the_share_of_somebody_who_left_opens_nothing_and_the_new_one_does(team: House) -> None:
    assert left_with_a_share(team.folder, LATER) == ["wang.fang"]
    left, stays = team.share("wang.fang"), team.share("li.wei")
    assert team.give(LATER, stays).holders == TEAM
    team.give(LATER, team.share("zhang.min"))
    assert team.share("li.wei") == stays  # until they are tried the old files stay
    new = [team.share(name, new=True) for name in LATER]
    assert not new_share_file(team.folder, "wang.fang").exists()
    for name in LATER:  # each is encrypted to its holder, and to nobody else
        with pytest.raises(subprocess.CalledProcessError):
            gpg(team.home / "wang.fang", "--decrypt", str(new_share_file(team.folder, name)))
    team.restart(
        left, team.share("zhang.min")
    )  # a restart: nothing was taken yet, and the leaver's share still opens it
    team.to_the_new_ones(LATER)
    new = [team.share(name, new=True) for name in LATER]
    assert team.give(LATER, new[2], new[0]) == Step("taken", holders=LATER)
    assert left_with_a_share(team.folder, LATER) == []
    assert not share_file(team.folder, "wang.fang").exists()
    assert (kept(team)["holders"], kept(team)["threshold"]) == (list(LATER), 2)
    with pytest.raises(VaultError, match="the share is refused"):
        team.restart(left, stays)
    with pytest.raises(VaultError, match="the share is refused"):
        team.restart(left, new[1])
    team.restart(new[1], new[2])
    assert initialise(team.fleet(*LATER), team.world.door) == []
    assert not seal_of(team.world.door).sealed


def test_the_command_asks_for_one_share_after_the_other(
    team: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("JINKU_STATE_DIR", tmp_path / "s"), ("JINKU_CACHE_DIR", tmp_path / "c")):
        monkeypatch.setenv(name, str(value))
    env = tmp_path / "mine"
    assert run("init", env) == ExitCode.OK
    assert run("rekey", "--env", env) == ExitCode.PREREQUISITE
    monkeypatch.setattr(command, "is_up", lambda _places: True)
    monkeypatch.setattr(command, "through_the_bastion", lambda _fleet: nullcontext(team.world.door))
    monkeypatch.setattr(command.Fleet, "of", lambda *_: team.fleet(*LATER))
    capsys.readouterr()

    def told(share: str, *more: str) -> tuple[int | str | None, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(share + "\n"))
        code, said = run("rekey", "--env", env, *more), "".join(capsys.readouterr())
        assert not share or share not in said
        return code, said

    old = [team.share(name) for name in LATER]
    code, said = told("")  # the vault knows of the rekey by now, so that "nothing was touched" (2) would be untrue
    assert (code, "old share 1 of 2 is wanted, or `jinku rekey --cancel`" in said) == (ExitCode.INCOMPLETE, True)
    assert told(old[0]) == (ExitCode.INCOMPLETE, "not yet: 1 of 2 old shares given; the next holder's\n")
    code, said = told(NONSENSE)
    assert (code, "update is refused" in said) == (ExitCode.FAILED, True)
    assert told("", "--cancel") == (ExitCode.OK, "ended; the old shares hold\n")
    assert told("", "--cancel") == (ExitCode.OK, "no rekey is under way\n")
    told(old[0])
    code, said = told(old[1])
    assert (code, "not yet: 0 of 2 new shares tried" in said, "new-share.chen.jie.gpg" in said) == (6, True, True)
    new = [team.share(name, new=True) for name in LATER]
    assert told(new[1])[0] == ExitCode.INCOMPLETE
    code, said = told(new[2])
    assert (code, "the new shares hold" in said) == (ExitCode.OK, True)
    team.world.stop()
    team.world.start()
    code, said = told(new[0])
    assert (code, "is sealed; `jinku unseal` first" in said) == (ExitCode.FAILED, True)
    for share in new[:2]:
        give(team.world.door, share)
    team.world.door.wait_until_active(20)


def test_the_command_says_what_is_not_known(tmp_path: Path) -> None:
    env: Any = SimpleNamespace(places=SimpleNamespace(vault=tmp_path))
    with pytest.raises(Failure, match=r"not known whether the vault took the new shares.*1 of 2 given") as ended:
        command._say(env, Step("either", 1, 2))
    assert ended.value.code == ExitCode.INCOMPLETE


def test_no_share_is_in_a_log_of_the_vault(team: House) -> None:
    shares = [team.share(name) for name in LATER]
    written = [(team.world.folder / "server.log").read_text()]
    written += [path.read_text() for path in team.world.folder.glob("var/**/audit.log")]
    assert len(written) == 3
    assert not any(share in text for share in shares for text in written)
