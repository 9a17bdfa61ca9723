# SPDX-License-Identifier: Apache-2.0
"""A rekey that is cut off anywhere, by us or by the vault: no share that may hold is lost, and the same command ends it.

The tests share one vault, whose shares change; each begins with those that hold.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rekey_house import TEAM, House, kept, left_behind, lost

from jinku.vault import VaultError, operator, rekey
from jinku.vault.rekey import Step, new_share_file

pytestmark = [pytest.mark.openbao, pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not here")]
SEAL = "shamir"


def test_a_vault_that_restarts_while_old_shares_are_given_begins_again(team: House) -> None:
    team.give(TEAM, team.share("li.wei"))
    team.restart(team.share("li.wei"), team.share("wang.fang"))
    with team.rekey(*TEAM) as one:
        assert one.begin() == Step("old", 0, 2, TEAM)
        assert left_behind(team) == ["rekey.json"]
        one.cancel()


def test_a_vault_that_restarts_while_new_shares_are_tried_goes_on_from_old_ones_with_other_new_ones(
    team: House,
) -> None:
    team.to_the_new_ones()
    void = [team.share(name, new=True) for name in TEAM]
    team.restart(team.share("li.wei"), team.share("wang.fang"))
    with team.rekey(*TEAM) as one:
        assert one.begin() == Step("either", 0, 2, TEAM)
    assert team.give(TEAM, team.share("wang.fang")) == Step("either", 1, 2, TEAM)
    assert team.give(TEAM, team.share("zhang.min")) == Step("new", 0, 2, TEAM)
    new = [team.share(name, new=True) for name in TEAM]
    assert not set(new) & set(void)
    with team.rekey(*TEAM) as one:
        assert one.cancel()


def test_new_shares_that_somebody_had_the_vault_take_without_us_are_not_lost(team: House) -> None:
    """The same state as after rekey.json came back from a backup that was made while new shares were tried."""
    team.to_the_new_ones()
    new = [team.share(name, new=True) for name in TEAM]
    with operator(team.fleet(*TEAM), team.world.door, "recovery") as client:
        for share in new[:2]:
            nonce = client.adapter.get("/v1/sys/rotate/root/verify")["data"]["nonce"]
            client.adapter.put("/v1/sys/rotate/root/verify", json={"key": share, "nonce": nonce})
    with team.rekey(*TEAM) as one, pytest.raises(VaultError, match="may have taken"):
        one.cancel()
    assert team.give(TEAM, new[1], new[2]) == Step("taken", holders=TEAM)
    assert [team.share(name) for name in TEAM] == new
    team.restart(new[0], new[2])


@pytest.mark.parametrize("then", ["it had taken them", "there is room again", "cancelled"])
def test_a_vault_that_fails_while_it_takes_them_loses_no_share(
    team: House, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    """It says 400 then, too: its disk may be full after it wrote its key anew."""
    team.to_the_new_ones()
    new = [team.share(name, new=True) for name in TEAM]
    team.give(TEAM, new[0])
    asked = rekey.Rekey._ask

    def ask(self: rekey.Rekey, method: str, what: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        if (method, what) != ("put", "verify"):
            return asked(self, method, what, given)
        if then == "it had taken them":
            asked(self, method, what, given)
        raise rekey._RefusedError("verify is refused (failed to perform barrier key rotation: no space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr(rekey.Rekey, "_ask", ask)
        with pytest.raises(VaultError, match="no space left"):
            team.give(TEAM, new[1])
    if then != "there is room again":
        with team.rekey(*TEAM) as one, pytest.raises(VaultError, match="may have taken"):
            one.cancel()
    assert [team.share(name, new=True) for name in TEAM] == new
    if then == "cancelled":
        assert team.give(TEAM, team.share("li.wei"), team.share("wang.fang")).stage == "new"
        with team.rekey(*TEAM) as one:
            assert one.cancel()
        return
    shares = (
        new[1:2] if then == "there is room again" else [new[2], new[0]]
    )  # the same once more; any of those that hold
    assert team.give(TEAM, *shares).stage == "taken"
    assert [team.share(name) for name in TEAM] == new
    team.restart(new[0], new[2])


def test_a_file_of_a_new_share_that_a_loss_of_power_cut_short_is_written_again(team: House) -> None:
    team.to_the_new_ones()
    before = team.share("li.wei", new=True)
    new_share_file(team.folder, "li.wei").write_bytes(b"")
    with team.rekey(*TEAM) as one:
        one.begin()
        assert team.share("li.wei", new=True) == before
        assert one.cancel()


def test_new_shares_that_were_told_and_never_written_are_void(team: House, monkeypatch: pytest.MonkeyPatch) -> None:
    team.give(TEAM, team.share("li.wei"))

    def cut_off(_path: Path, text: str) -> None:
        if '"stage": "new"' in text:
            raise KeyboardInterrupt
        kept_by(_path, text)

    kept_by = rekey.keep
    with monkeypatch.context() as patch:
        patch.setattr(rekey, "keep", cut_off)
        with pytest.raises(KeyboardInterrupt):
            team.give(TEAM, team.share("zhang.min"))
    with team.rekey(*TEAM) as one:
        assert one.begin() == Step("old", 0, 2, TEAM)
        one.cancel()
    team.restart(team.share("li.wei"), team.share("wang.fang"))


def test_a_lost_answer_of_a_vault_that_has_not_taken_them_is_told_by_the_old_shares(
    team: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(team)
    team.to_the_new_ones()
    new = [team.share(name, new=True) for name in TEAM[:2]]
    team.give(TEAM, new[0])
    lost(monkeypatch, taken=False)
    with pytest.raises(VaultError, match="no answer"):
        team.give(TEAM, new[1])
    monkeypatch.undo()
    team.restart(team.share("li.wei"), team.share("wang.fang"))
    with team.rekey(*TEAM) as one:
        with pytest.raises(VaultError, match="may have taken"):
            one.cancel()
        assert one.begin() == Step("either", 0, 2, TEAM)
    team.give(TEAM, new[0])
    with pytest.raises(VaultError, match="update is refused"):  # the new ones were tried first: they do not hold
        team.give(TEAM, new[1])
    assert team.give(TEAM, team.share("zhang.min"), team.share("wang.fang")) == Step("new", 0, 2, TEAM)
    assert kept(team) == before
    assert team.share("li.wei", new=True) not in new
    with team.rekey(*TEAM) as one:
        assert one.cancel()
    assert left_behind(team) == []


def test_a_lost_answer_of_a_vault_that_has_taken_them_is_told_by_the_new_shares(
    team: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(team)
    team.to_the_new_ones()
    new = [team.share(name, new=True) for name in TEAM]
    old = [team.share(name) for name in TEAM]
    team.give(TEAM, new[0])
    lost(monkeypatch, taken=True)
    with pytest.raises(VaultError, match="no answer"):
        team.give(TEAM, new[1])
    monkeypatch.undo()
    assert kept(team) == before
    assert team.share("li.wei") == old[0]
    team.give(TEAM, old[0])
    with pytest.raises(VaultError, match="update is refused"):  # the old ones were tried first: they do not hold
        team.give(TEAM, old[2])
    assert team.give(TEAM, new[2], new[0]).stage == "taken"
    assert [team.share(name) for name in TEAM] == new
    assert left_behind(team) == []
    team.restart(new[1], new[2])


def test_files_that_were_half_replaced_are_replaced_by_the_next_run(
    team: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    team.to_the_new_ones()
    new = [team.share(name, new=True) for name in TEAM]

    def full(path: Path, _share: str) -> None:
        raise OSError(28, "No space left on device", str(path))

    team.give(TEAM, new[0])
    with monkeypatch.context() as patch:
        patch.setattr(rekey, "hand_over", full)
        with pytest.raises(OSError, match="No space"):
            team.give(TEAM, new[1])
    with team.rekey(*TEAM) as one:
        with pytest.raises(VaultError, match="may have taken"):
            one.cancel()
        assert one.begin() == Step("taken", holders=TEAM)
    assert [team.share(name) for name in TEAM] == new
    team.restart(new[0], new[2])


def test_a_damaged_plan_is_told_and_removed_by_nobody(team: House) -> None:
    team.to_the_new_ones()
    file = team.folder / "rekey.json"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    for do in ("begin", "cancel"):
        with team.rekey(*TEAM) as one, pytest.raises(VaultError, match="is damaged, and may have the only new shares"):
            getattr(one, do)()
    file.write_bytes(whole)
    with team.rekey(*TEAM) as one:
        assert one.begin().stage == "new"
        assert one.cancel()
