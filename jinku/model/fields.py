# SPDX-License-Identifier: Apache-2.0
"""What every section of environment.yaml is made of."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,20}[a-z0-9])?$")]
KeyFile = Annotated[str, StringConstraints(pattern=r"^(~?/)[A-Za-z0-9@_./+-]+$")]
Domain = Annotated[
    str,
    StringConstraints(
        max_length=200, pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
    ),
]


def _time_zone(name: str) -> str:
    """Accept a zone that can be loaded: the report is written in it, at the end of a whole `jinku up`."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):  # a folder of zones, such as Asia, is an OSError
        raise ValueError(
            f"is {name!r}, which is no time zone that this machine knows; one such as Asia/Shanghai"
        ) from None
    return name


TimeZone = Annotated[
    str, StringConstraints(pattern=r"^[A-Z][A-Za-z_]+(/[A-Z][A-Za-z_]+)*$"), AfterValidator(_time_zone)
]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Duty = Literal["system", "audit", "security"]


class Section(BaseModel):
    """Base of every section: unknown keys are errors and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
