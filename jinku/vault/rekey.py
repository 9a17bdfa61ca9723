# SPDX-License-Identifier: Apache-2.0
"""New shares of the vault's key for the operators who are here; those of before are void once the new ones were tried.

    rekey = Rekey(fleet, door, client)       a client with the duty recovery
    step = rekey.begin()                     goes on where a run before was cut off
    step = rekey.give(share)                 first enough old shares (stage old), then as many new ones (stage new)

The vault keeps the old key until it was shown enough of the new shares (require_verification). What it told meanwhile is in
<state>/vault/rekey.json, with the nonce that tells our rekey from anybody else's; the vault itself forgets one when it restarts.

A new share that was told is never removed because nothing is under way: the vault forgets a rekey that it took, too. Which shares
hold is then told by those that fit (stage either).
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidRequest
from hvac.exceptions import VaultError as HvacError
from requests import RequestException

from jinku.holders import rekey_file
from jinku.vault.door import Door, VaultError
from jinku.vault.fleet import Fleet
from jinku.vault.shares import hand_over, holds, keep, record, reserve, seal_of, share_file, split_of

__all__ = ["Rekey", "Step", "new_share_file"]

SCHEMA = "jinku/rekey/1"
#: What the vault says of a share before it takes anything. It answers with the same code when its storage fails midway.
_NOT_TAKEN = re.compile(
    "incorrect key shares|already been provided|valid hex or base64|shorter than|longer than|compute key|incorrect nonce|may not rekey"
)


@dataclass(frozen=True)
class Step:
    """How far it is. ``stage``: which shares are wanted (``given`` of ``needed``): old, new, or either where it is not known which hold;
    taken: the new ones hold.

    ``holders``: who has a share in a file of the own; nobody where the shares lie in recovery.json.
    """

    stage: str
    given: int = 0
    needed: int = 0
    holders: tuple[str, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted."""
        return self.stage == "taken"


def new_share_file(folder: Path, person: str) -> Path:
    """Where the new share of an operator lies until the vault has taken it."""
    return folder / f"new-share.{person}.gpg"


class _RefusedError(VaultError):
    """The vault has read the request and said no."""


def _digest(share: str) -> str:
    """Which share it was, in hexadecimal or base64; what it is, 33 random bytes, cannot be found from that."""
    try:
        plain = bytes.fromhex(share)
    except ValueError:
        try:
            plain = base64.b64decode(share, validate=True)
        except ValueError:
            plain = share.encode()
    return hashlib.sha256(plain).hexdigest()


class Rekey:
    """One rekey of one vault. ``client``: logged in with the duty recovery. Hold the environment's lock meanwhile."""

    def __init__(self, fleet: Fleet, door: Door, client: hvac.Client) -> None:
        self._fleet, self._client, self._name = fleet, client, door.server_name
        # Where a key on the host opens the vault, the shares are those of the recovery key.
        self._sort = "secret" if seal_of(door).by == "shamir" else "recovery"
        self._at = f"/v1/sys/rotate/{'root' if self._sort == 'secret' else 'recovery'}"
        self._folder = fleet.state / "vault"
        self._file = rekey_file(self._folder)

    def begin(self) -> Step:
        """Begin, or go on. :raises VaultError: another rekey is under way, the vault refuses, or there are too few keys."""
        plan, told = self._plan(), self._told()
        if plan.get("stage") == "confirmed":
            return self._settle(plan)
        if told["started"]:
            if plan.get("nonce") != told["nonce"]:
                raise VaultError(
                    f"{self._name}: a rekey that was not begun here is under way ({told['progress']} shares given), or one that was"
                    " cut off as it began; ask who began it, then `jinku rekey --cancel` ends it"
                )
            if plan["stage"] == "old" and not told.get("verification_nonce"):
                return self._step(plan, told)
            if plan["stage"] != "old" and self._verifies():
                return self._step(plan, told)
            # It told the new shares, and we were cut off before they were written: they are void. Or it failed while it took them.
            self._end()
        if plan.get("stage") in ("new", "confirming"):
            # Did the vault take the new shares, or forget them? Either set of shares proves itself.
            plan["doubt"] = True
        elif not plan.get("doubt"):
            self._forget()
            plan = {}
        return self._start(plan)

    def _verifies(self) -> bool:
        """Whether the vault waits for new shares in the rekey that is under way."""
        try:
            self._ask("get", "verify")
        except _RefusedError:
            return False
        return True

    def give(self, share: str) -> Step:
        """Give one share, decrypted: hexadecimal or base64. :raises VaultError: it is refused; the count may begin anew."""
        plan = self._plan()
        return self._give_new(plan, share) if plan["stage"] in ("new", "confirming") else self._give_old(plan, share)

    def own_share(self, step: Step) -> str:
        """The share that is wanted next, where it lies unencrypted on this machine; '' where people hold the shares."""
        plan = self._plan()
        if step.ended:
            return ""
        sets = [plan["new"]] if step.stage == "new" else self._sets_here(plan)[plan.get("refused", 0) :]
        kept = sets[0] if sets else {}
        return "" if kept.get("encrypted", True) else str(kept["shares"][step.given])

    def _sets_here(self, plan: dict[str, Any]) -> list[dict[str, Any]]:
        """Sets of shares that lie here unencrypted and may be those that hold; the old ones first."""
        sets = [self._kept(), plan["new"]] if plan.get("doubt") else [self._kept()]
        return [one for one in sets if not one.get("encrypted", True)]

    def cancel(self) -> bool:
        """End a rekey that is under way, whoever began it; return whether there was one. The old shares stay as they are.

        :raises VaultError: it is ended, but the vault may have taken the new shares already, so none is removed.
        """
        plan, told = self._plan(), self._told()
        ours = told["started"] and told["nonce"] == plan.get("nonce")
        stage = plan.get("stage")
        doubt = plan.get("doubt") or stage in ("confirming", "confirmed") or (stage == "new" and not ours)
        if told["started"]:
            self._end()
        if doubt:
            words = "nothing is under way any more, but it may have taken the new shares already"
            raise VaultError(f"{self._name}: {words}; `jinku rekey` finds out")
        self._forget()
        return bool(plan or told["started"])

    def _start(self, plan: dict[str, Any]) -> Step:
        split = split_of(self._fleet)
        if not split.keys and (self._kept().get("encrypted") or any(self._folder.glob("share.*.gpg"))):
            raise VaultError(
                "environment.yaml: operators: no OpenPGP key, and the shares are encrypted to some; at least 3 keys"
            )
        reserve(self._file)  # a full disk is met before anything is begun
        wanted: dict[str, Any] = {
            "secret_shares": split.shares,
            "secret_threshold": split.threshold,
            "require_verification": True,
        }
        if split.keys:
            wanted["pgp_keys"] = list(split.keys)
        told = self._ask("put", "init", wanted)
        plan |= {"schema": SCHEMA, "stage": "old", "nonce": told["nonce"], "given": [], "refused": 0}
        # Whose shares they will be: environment.yaml may change before the vault tells them.
        come = record(self._sort, split, [])
        plan |= {"next": come} if plan.get("doubt") else {"new": come, "old": []}
        self._write(plan)
        return self._step(plan, told)

    def _step(self, plan: dict[str, Any], told: dict[str, Any]) -> Step:
        if plan["stage"] == "old":
            stage = "either" if plan.get("doubt") else "old"
            return Step(stage, int(told["progress"]), int(told["required"]), tuple(self._kept().get("holders", ())))
        new = plan["new"]
        files = {
            new_share_file(self._folder, person): own
            for person, own in zip(new["holders"], new["shares"], strict=False)
        }
        for path in set(self._folder.glob("new-share.*.gpg")) - set(files):
            path.unlink()  # of a try before, and void
        for path, own in files.items():
            if not holds(path, own):
                hand_over(path, own)
        seen = self._ask("get", "verify")
        return Step("new", int(seen["progress"]), int(seen["t"]), tuple(new["holders"]))

    def _kept(self) -> dict[str, Any]:
        """The record of the shares that hold, or did before; {} where it was put away."""
        file = self._folder / "recovery.json"
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return found

    def _give_old(self, plan: dict[str, Any], share: str) -> Step:
        if plan.get("doubt"):
            return self._prove(plan, share)
        plan["old"] = [*plan["old"], _digest(share)]
        self._write(plan)
        reserve(self._file)  # what comes next may be the answer that is told once only
        told = self._ask("put", "update", {"key": share, "nonce": plan["nonce"]})
        if not told.get("complete"):
            return self._step(plan, self._told())
        plan["new"]["shares"] = told["keys_base64"]
        plan["stage"] = "new"
        keep(self._file, json.dumps(plan, indent=1) + "\n")
        return self._step(plan, self._told())

    def _prove(self, plan: dict[str, Any], share: str) -> Step:
        """Take shares of either sort: those that were given are those that hold as soon as they fit, and nothing is removed before."""
        reserve(self._file)
        try:
            told = self._ask("put", "update", {"key": share, "nonce": plan["nonce"]})
        except _RefusedError:
            if not self._set_is_refused(plan, share):
                raise
            return self._step(self._plan(), self._told())
        plan["given"] = [*plan["given"], _digest(share)]
        if not told.get("complete"):
            self._write(plan)
            return self._step(plan, self._told())
        fit = plan["given"]
        if len(fit) != int(self._told()["required"]):  # a run was cut off before it wrote down what it had given
            self._end()
            return self._start(plan)
        # The old ones were given by more than half of their holders before: any such number of them has one of those.
        if not set(fit) & set(plan["old"]):
            self._end()
            return self._settle(plan)
        new = {**plan["next"], "shares": told["keys_base64"]}
        plan = {"schema": SCHEMA, "stage": "new", "nonce": plan["nonce"], "new": new, "old": fit}
        keep(self._file, json.dumps(plan, indent=1) + "\n")
        return self._step(plan, self._told())

    def _set_is_refused(self, plan: dict[str, Any], share: str) -> bool:
        """Whether the refused share was one of a set that lies here, and the other set may be those that hold; then that is next."""
        told = self._told()
        # Nothing is under way any more, or it was the same share a second time or no share at all, and the others still count.
        if not told["started"] or told["progress"]:
            return False
        sets, refused = self._sets_here(plan), plan.get("refused", 0)
        ours = refused < len(sets) and share in sets[refused]["shares"]
        self._write(plan | {"given": [], "refused": refused + ours})
        return ours and not refused

    def _give_new(self, plan: dict[str, Any], share: str) -> Step:
        seen = self._ask("get", "verify")
        if int(seen["progress"]) + 1 >= int(seen["t"]):
            self._write(plan | {"stage": "confirming"})  # its answer may not reach us
        try:
            told = self._ask("put", "verify", {"key": share, "nonce": seen["nonce"]})
        except _RefusedError as error:
            if _NOT_TAKEN.search(str(error)):
                self._write(plan)
            raise
        if told.get("complete"):
            return self._settle(plan)
        return self._step(plan, self._told())

    def _settle(self, plan: dict[str, Any]) -> Step:
        """The vault has taken the new shares: they take the place of the old ones. Done again after it was cut off, it ends the same."""
        plan["stage"] = "confirmed"
        self._write(plan)
        new = plan["new"]
        reserve(self._folder / "recovery.json")
        keep(self._folder / "recovery.json", json.dumps(new, indent=1) + "\n")
        for person, own in zip(new["holders"], new["shares"], strict=False):
            hand_over(share_file(self._folder, person), own)
        for path in self._folder.glob("share.*.gpg"):
            if path not in {share_file(self._folder, person) for person in new["holders"]}:
                path.unlink()
        self._forget()
        return Step("taken", holders=tuple(new["holders"]))

    def _plan(self) -> dict[str, Any]:
        """What was written for this rekey; {} for none. :raises VaultError: it is damaged."""
        try:
            found: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}
        except ValueError:
            words = (
                "is damaged, and may have the only new shares; bring it back from a copy, and remove nothing beside it"
            )
            raise VaultError(f"{self._file}: (file): {words}") from None
        return found

    def _write(self, plan: dict[str, Any]) -> None:
        reserve(self._file)
        keep(self._file, json.dumps(plan, indent=1) + "\n")

    def _forget(self) -> None:
        """Remove what was written for this rekey, the plan last."""
        for path in self._folder.glob("new-share.*.gpg"):
            path.unlink()
        self._file.with_name(f".{self._file.name}.draft").unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)

    def _told(self) -> dict[str, Any]:
        return self._ask("get", "init")

    def _end(self) -> None:
        self._ask("delete", "init")

    def _ask(self, method: str, what: str, given: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request; a share is in its body only, and in no error."""
        more = {"json": given} if given is not None else {}
        try:
            answer = getattr(self._client.adapter, method)(f"{self._at}/{what}", **more)
        except InvalidRequest as error:
            init = "the OpenPGP keys of environment.yaml; a rekey that is under way ends by `jinku rekey --cancel`"
            right = init if what == "init" else "the shares that are asked for, from the first on"
            raise _RefusedError(f"{self._name}: {what} is refused ({error}); {right}") from None
        except Forbidden:
            raise _RefusedError(
                f"{self._name}: the duty recovery may not rekey; `jinku up` gives it the policy of this version"
            ) from None
        except (HvacError, RequestException) as error:
            # the type only: the text of such an error may repeat the request
            raise VaultError(
                f"{self._name}: no answer to {what} ({type(error).__name__}); the same command again goes on"
            ) from None
        found: dict[str, Any] = answer.get("data") or answer if isinstance(answer, dict) else {}
        return found
