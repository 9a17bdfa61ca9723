# SPDX-License-Identifier: Apache-2.0
"""Where a key on the host opens the vault, the shares are those of the recovery key: replaced in one go where they lie in a file."""

import contextlib
import json

import pytest
from rekey_house import CutOff, by_itself, lost
from vault_world import World

from jinku.vault import VaultError, operator
from jinku.vault.rekey import Rekey, Step

pytestmark = pytest.mark.openbao


def test_the_shares_of_the_recovery_key_are_replaced_and_the_old_ones_refused(ready: World) -> None:
    file = ready.fleet.state / "vault/recovery.json"
    before = json.loads(file.read_text())
    with operator(ready.fleet, ready.door, "recovery") as client:
        run = Rekey(ready.fleet, ready.door, client)
        assert by_itself(run) == Step("taken")
        after = json.loads(file.read_text())
        assert {**after, "shares": []} == {**before, "shares": []}
        assert not set(after["shares"]) & set(before["shares"])
        run.begin()
        for old in before["shares"][:2]:
            run.give(old)
        with pytest.raises(VaultError, match="update is refused"):
            run.give(before["shares"][2])
        for new in after["shares"][:2]:
            assert run.give(new).stage == "old"
        assert run.give(after["shares"][4]).stage == "new"
        assert run.cancel()
    assert json.loads(file.read_text()) == after


def test_a_run_that_was_cut_off_between_two_of_its_shares_goes_on(ready: World) -> None:
    file = ready.fleet.state / "vault/recovery.json"
    before = json.loads(file.read_text())
    last = Step("")
    for _ in range(6):  # three old ones, three new ones, each by a run of its own
        with operator(ready.fleet, ready.door, "recovery") as client:
            run = Rekey(ready.fleet, ready.door, client)
            last = run.give(run.own_share(run.begin()))
    assert last == Step("taken")
    assert json.loads(file.read_text())["shares"] != before["shares"]


def the_last_answer_is_lost(run: Rekey, monkeypatch: pytest.MonkeyPatch, *, taken: bool) -> None:
    """Rekey until the last new share that is needed, and lose the answer to it."""
    step = run.begin()
    while (step.stage, step.given) != ("new", 2):
        step = run.give(run.own_share(step))
    lost(monkeypatch, taken=taken)
    with pytest.raises(VaultError, match="no answer"):
        run.give(run.own_share(step))
    monkeypatch.undo()


@pytest.mark.parametrize("taken", [True, False])
def test_a_lost_answer_is_told_by_the_new_shares_that_lie_here(
    ready: World, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    file = ready.fleet.state / "vault/recovery.json"
    before = json.loads(file.read_text())
    with operator(ready.fleet, ready.door, "recovery") as client:
        the_last_answer_is_lost(Rekey(ready.fleet, ready.door, client), monkeypatch, taken=taken)
    assert json.loads(file.read_text()) == before
    if not taken:
        ready.stop()
        ready.start()
        ready.door.wait_until_active(20)
    with operator(ready.fleet, ready.door, "recovery") as client:
        run = Rekey(ready.fleet, ready.door, client)
        told = json.loads((file.parent / "rekey.json").read_text())["new"]
        assert by_itself(run).stage == "taken"
        assert (json.loads(file.read_text()) == told) is taken  # else those are void, and others were told
        assert json.loads(file.read_text()) != before
        assert by_itself(run).stage == "taken"


def test_shares_that_may_hold_stay_when_the_vault_refuses_them_for_another_reason(
    ready: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vault that opens by itself restarts between two shares: it knows no rekey then, which says nothing of the shares."""
    folder = ready.fleet.state / "vault"
    with operator(ready.fleet, ready.door, "recovery") as client:
        run = Rekey(ready.fleet, ready.door, client)
        the_last_answer_is_lost(run, monkeypatch, taken=True)
        hold = json.loads((folder / "rekey.json").read_text())["new"]
        step = run.begin()
        client.adapter.delete("/v1/sys/rotate/recovery/init")
        with pytest.raises(VaultError, match="no rotation in progress"):
            run.give(run.own_share(step))
        assert json.loads((folder / "rekey.json").read_text())["new"] == hold
        assert by_itself(run).stage == "taken"
    assert json.loads((folder / "recovery.json").read_text()) == hold


@pytest.mark.parametrize("restarts", [False, True])
def test_a_run_that_is_cut_off_at_any_step_is_ended_by_the_next_and_its_shares_hold(
    ready: World, monkeypatch: pytest.MonkeyPatch, restarts: bool
) -> None:
    """The next run gives the shares that lie here, and it ends only if those hold. ``restarts``: the vault forgets, too."""
    at, cut = 0, True
    with operator(ready.fleet, ready.door, "recovery") as client:
        while cut:
            at += 1
            with monkeypatch.context() as patch:
                off = CutOff(patch, at)
                with contextlib.suppress(KeyboardInterrupt):
                    by_itself(Rekey(ready.fleet, ready.door, client))
                cut = off.left <= 0
            if restarts:
                client.adapter.delete("/v1/sys/rotate/recovery/init")
            run = Rekey(ready.fleet, ready.door, client)
            try:
                step = by_itself(run)
            except VaultError:  # the vault has begun, and we were cut off before that was written
                with contextlib.suppress(VaultError):
                    run.cancel()
                step = by_itself(run)
            assert step == Step("taken"), f"cut off at step {at}"
            assert not (ready.fleet.state / "vault/rekey.json").exists()
    assert at > 40
