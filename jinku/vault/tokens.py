# SPDX-License-Identifier: Apache-2.0
"""The tokens that live in the vault, as the audit duty sees them: accessors and what was given, never a token itself."""

from collections.abc import Iterator
from typing import Any

import hvac
from hvac.exceptions import InvalidRequest

__all__ = ["live_tokens"]


def live_tokens(auditor: hvac.Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (accessor, what the vault says of it) of each token.

    Raises hvac's errors: a vault that does not let us look is no vault without tokens.
    """
    for accessor in auditor.list("auth/token/accessors")["data"]["keys"]:
        try:
            found = auditor.write_data("auth/token/lookup-accessor", data={"accessor": accessor})["data"]
        except InvalidRequest:  # "invalid accessor": it ended meanwhile
            continue
        yield accessor, found
