# SPDX-License-Identifier: Apache-2.0
"""How people get into the CRM, and what it forgets of them: through the edge, with an account of the test's own. ``-m fault``."""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from crm_client import Crm, CrmError, RefusedError

pytestmark = pytest.mark.fault
ATTEMPTS = 5  # failed logins after which a name is refused

Account = Callable[[str], None]


def new_password() -> str:
    """A password that the rules accept."""
    return f"Aa-{secrets.token_hex(12)}"


def asked(crm: Crm, login: str, password: str, **answers: str) -> str:
    """What the CRM asks for beside the password; fails when it lets the person in or refuses."""
    with pytest.raises(CrmError) as refusal:
        crm.login(login, password, **answers)
    assert refusal.value.name == "LoginException", refusal.value
    name: str = refusal.value.told[0][0]
    return name


def refused(crm: Crm, login: str, password: str) -> int:
    """The HTTP status with which a login is refused."""
    with pytest.raises(RefusedError) as refusal:
        crm.login(login, password)
    return refusal.value.status


@pytest.mark.parametrize("state", ["temporary", "aged"])
def test_such_a_password_opens_no_session_until_an_own_one_is_set(
    crm: Crm, account: Account, login: str, password: str, state: str
) -> None:
    account(state)
    own = new_password()
    answers: dict[str, str] = {}
    for wrong in ("Aa-1", password, "onlysmallletters", f"{login}-Aa-1"):
        question = asked(crm, login, password, **answers)
        assert question.startswith("new_password_")
        answers[question] = wrong
    for given in (own, "Aa-something-else", own):
        answers[asked(crm, login, password, **answers)] = given
    question = asked(crm, login, password, **answers)
    assert crm.login(login, password, **answers, **{question: own})
    crm.logout()
    assert refused(crm, login, password) == http.client.UNAUTHORIZED
    assert crm.login(login, own)


def test_an_expired_temporary_password_opens_nothing(crm: Crm, account: Account, login: str, password: str) -> None:
    account("expired")
    assert refused(crm, login, password) == http.client.UNAUTHORIZED


def test_an_idle_session_ends(crm: Crm, account: Account, login: str, password: str) -> None:
    account("own")
    crm.login(login, password)
    assert crm.call("model.res.user.get_preferences", True, {})
    account("idle")
    with pytest.raises(RefusedError) as refusal:
        crm.call("model.res.user.get_preferences", True, {})
    assert refusal.value.status == http.client.UNAUTHORIZED


def test_guessing_is_slowed_and_then_refused(crm: Crm, account: Account, login: str, password: str) -> None:
    account("own")
    started = time.monotonic()
    answers = [refused(crm, login, "Aa-wrong-password-1") for _ in range(ATTEMPTS + 1)]
    assert answers[-1] == http.client.TOO_MANY_REQUESTS, answers
    assert refused(crm, login, password) == http.client.TOO_MANY_REQUESTS, "the right password is not let in meanwhile"
    assert time.monotonic() - started < 240


def test_what_is_kept_of_a_person_is_exported_and_erased(
    crm: Crm, account: Account, login: str, password: str, verb: Callable[..., dict[str, Any]]
) -> None:
    account("own")
    crm.login(login, password)
    context = crm.call("model.res.user.get_preferences", True, {})
    telephone = {"type": "other", "value": "+86 10 5550 0199"}
    values = {
        "name": "测试客户",
        "addresses": [["create", [{"city": "北京"}]]],
        "contact_mechanisms": [["create", [telephone]]],
    }
    (party,) = crm.call("model.party.party.create", [values], context)
    content = secrets.token_bytes(100_000)
    attachment = {"name": "合同.pdf", "type": "data", "resource": f"party.party,{party}", "data": content}
    crm.call("model.ir.attachment.create", [attachment], context)
    (record,) = crm.call("model.party.party.read", [party], ["code"], context)
    code = record["code"]

    kept = verb("export", code)
    assert kept["party"]["name"] == values["name"]
    assert kept["records"]["party.contact_mechanism"][0]["value"] == telephone["value"]
    assert [(file["name"], file["bytes"]) for file in kept["attachments"]] == [("合同.pdf", len(content))]
    assert "active" in verb("erase", code)["error"], "who is still a customer is not erased"

    crm.call("model.party.party.write", [party], {"active": False}, context)
    assert verb("erase", code)["deleted"] == 1
    left = verb("export", code)
    assert not left["party"]["name"]
    assert not left["attachments"]
    assert telephone["value"] not in json.dumps(left)


def test_the_contract_s_read_only_verbs_answer(verb: Callable[..., dict[str, Any]]) -> None:
    assert verb("health")["database"] is True
    assert "admin" in {user["login"] for user in verb("users")["users"]}
    assert verb("attachments")["deleted"] == 0
    assert verb("export", "no-such-code")["error"]
