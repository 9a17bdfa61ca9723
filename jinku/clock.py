# SPDX-License-Identifier: Apache-2.0
"""Times as people are told them: in the environment's zone, with its offset. Documents for machines are in UTC."""

from datetime import datetime
from zoneinfo import ZoneInfo


def told(moment: datetime | str | None, zone: str) -> str:
    """A moment, or its ISO 8601, such as ``2026-11-28T02:00:00+08:00``, which `jinku restore --to` takes; "-" for none.

    Text that is no such moment stays as it is.
    """
    if not moment:
        return "-"
    try:
        when = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return str(moment)
    return when.astimezone(ZoneInfo(zone)).isoformat(timespec="seconds")
