# SPDX-License-Identifier: Apache-2.0
"""Sections of environment.yaml: how long things are kept, what is copied, and what the business accepts to lose."""

from typing import Annotated, Literal

from pydantic import Field

from jinku.model.fields import Section


class Retention(Section):
    """How long things are kept."""

    log_days: Annotated[int, Field(ge=180, le=3650, strict=True)] = 180
    """Days that log lines are kept; at least 180 (GB/T 22239-2019 8.1.5.4.d, CSL Art. 23)."""


class Backup(Section):
    """What the disaster-recovery site keeps of the primary: database, attachments and vault, encrypted."""

    keep_days: Annotated[int, Field(ge=7, le=3650, strict=True)] = 35
    """Days to any moment of which one can go back."""
    full_day: Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"] = "Sun"
    """Day of the week on which the database is copied whole; on the others what changed."""
    hour: Annotated[int, Field(ge=0, le=23, strict=True)] = 2
    """Hour (of `timezone`) at which the daily copies begin, spread over thirty minutes."""


class Objectives(Section):
    """What the business accepts to lose."""

    rpo_minutes: Annotated[int, Field(ge=1, le=1440, strict=True)] = 15
    """Recovery point objective, minutes."""
    rto_minutes: Annotated[int, Field(ge=5, le=2880, strict=True)] = 240
    """Recovery time objective, minutes."""
