# SPDX-License-Identifier: Apache-2.0
"""An accessor without a token hides no other, and a vault that does not let us look is not taken for an empty one."""

from typing import Any

import pytest
from hvac.exceptions import Forbidden, InvalidRequest

from jinku.vault.tokens import live_tokens


class Vault:
    """Knows one token, one accessor that ended meanwhile, and one whose token was never written (the volume was full)."""

    def __init__(self, capabilities: list[str]) -> None:
        self.capabilities = capabilities

    def list(self, _path: str) -> dict[str, Any]:
        return {"data": {"keys": ["ended", "torn", "lives"]}}

    def write_data(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        if path == "sys/capabilities-self":
            return {"data": dict.fromkeys(data["paths"], self.capabilities)}
        if data["accessor"] == "ended":
            raise InvalidRequest("invalid accessor")
        if data["accessor"] == "torn" or self.capabilities == ["deny"]:
            raise Forbidden("permission denied")
        return {"data": {"display_name": "li-na"}}


def test_an_accessor_whose_token_was_never_written_hides_no_other():
    assert [accessor for accessor, _ in live_tokens(Vault(["update"]))] == ["lives"]


def test_a_vault_that_does_not_let_us_look_is_not_without_tokens():
    with pytest.raises(Forbidden):
        list(live_tokens(Vault(["deny"])))
