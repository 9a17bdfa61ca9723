# SPDX-License-Identifier: Apache-2.0
"""The second factor of a login to the CRM, through the edge, with an account of the test's own. ``-m fault``."""

from __future__ import annotations

import base64
import http.client
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from crm_client import Crm, CrmError, RefusedError
from second_factor import AUTHENTICATOR, CODE

pytestmark = pytest.mark.fault
ATTEMPTS = 5  # failed logins after which a name is refused

Account = Callable[[str], None]


def tried(crm: Crm, login: str, password: str, code: str) -> int:
    """Status of a login with this very code."""
    try:
        Crm(crm.door, crm.database).login(login, password, **{CODE: code})
    except RefusedError as refusal:
        return refusal.status
    return int(http.client.OK)


def test_a_code_opens_once_also_for_many_at_once(crm: Crm, account: Account, login: str, password: str) -> None:
    account("own")
    crm.login(login, password)
    code = AUTHENTICATOR.answer(login, CODE, "")
    with ThreadPoolExecutor(4) as threads:
        said = sorted(threads.map(lambda _: tried(crm, login, password, code), range(4)))
    assert said == [http.client.OK, *[http.client.UNAUTHORIZED] * 3]
    assert tried(crm, login, password, code) == http.client.UNAUTHORIZED


def test_wrong_codes_lock_as_wrong_passwords_do(crm: Crm, account: Account, login: str, password: str) -> None:
    account("own")
    crm.login(login, password)
    said = [tried(crm, login, password, "abc") for _ in range(ATTEMPTS + 1)]
    assert said[0] == http.client.UNAUTHORIZED
    assert said[-1] == http.client.TOO_MANY_REQUESTS, said
    right = AUTHENTICATOR.answer(login, CODE, "")
    assert tried(crm, login, password, right) == http.client.TOO_MANY_REQUESTS, "the right code is not let in meanwhile"


def test_no_other_way_leads_past_it(crm: Crm, account: Account, login: str, password: str) -> None:
    """A password in the header of a request is a login, too; and nothing from outside reads or resets a factor."""
    account("own")
    basic = {"Authorization": "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()}
    answer = crm.send("model.res.user.search", [[], 0, 1, None, {}], basic)
    assert answer.status != http.client.OK or "LoginException" in json.dumps(json.loads(answer.body).get("error"))
    number = crm.login(login, password)
    context = crm.call("model.res.user.get_preferences", True, {})
    for method in ("read", "search_read", "export_data", "write", "copy"):
        with pytest.raises(RefusedError) as refusal:
            crm.call(f"model.res.user.factor.{method}", [1], ["nonce"], context)
        assert refusal.value.status == http.client.FORBIDDEN
    for method, values in (("reset_second_factor", []), ("write", [{"second_factor": False}])):
        with pytest.raises(CrmError) as refused:
            crm.call(f"model.res.user.{method}", [number], *values, context)
        assert "access" in str(refused.value).lower() or refused.value.name == "UserError", refused.value
    assert crm.call("model.res.user.read", [number], ["second_factor"], context)[0]["second_factor"] is True


def test_a_reset_logs_out_and_has_a_new_one_set_up(
    crm: Crm, account: Account, login: str, password: str, verb: Callable[..., dict[str, Any]]
) -> None:
    account("own")
    crm.login(login, password)
    before = AUTHENTICATOR.url(login)
    assert verb("unenrol", login)["unenrolled"] == login
    with pytest.raises(RefusedError) as refusal:
        crm.call("model.res.user.get_preferences", True, {})
    assert refusal.value.status == http.client.UNAUTHORIZED
    assert not next(one for one in verb("users")["users"] if one["login"] == login)["second_factor"]
    crm.login(login, password)
    assert AUTHENTICATOR.url(login) != before
    assert verb("unenrol", "nobody-of-that-name")["error"]
