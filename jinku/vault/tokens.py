# SPDX-License-Identifier: Apache-2.0
"""The tokens that live in the vault, as the audit duty sees them: accessors and what was given, never a token itself."""

from collections.abc import Iterator
from typing import Any

import hvac
from hvac.exceptions import Forbidden, InvalidRequest

__all__ = ["live_tokens"]


_LOOKUP = "auth/token/lookup-accessor"


def live_tokens(auditor: hvac.Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (accessor, what the vault says of it) of each token.

    Raises hvac's errors: a vault that does not let us look is no vault without tokens.
    """
    for accessor in auditor.list("auth/token/accessors")["data"]["keys"]:
        try:
            found = auditor.write_data(_LOOKUP, data={"accessor": accessor})["data"]
        except InvalidRequest:  # "invalid accessor": it ended meanwhile
            continue
        except Forbidden:
            # So it answers, too, of an accessor whose token was never written: the volume was full at that moment. It opens nothing.
            if not _may_look(auditor):
                raise
            continue
        yield accessor, found


def _may_look(auditor: hvac.Client) -> bool:
    """Whether the vault would let us look up an accessor, if there were a token behind it."""
    said = auditor.write_data("sys/capabilities-self", data={"paths": [_LOOKUP]})["data"]
    return bool({"update", "root"} & set(said[_LOOKUP])) and "deny" not in said[_LOOKUP]
