# SPDX-License-Identifier: Apache-2.0
"""What every section of environment.yaml is made of.

A kind of text is declared once, by :func:`_form`: its pattern for the machine, the same in words for whoever mistypes it.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Literal, NamedTuple, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


class Form(NamedTuple):
    """How a text must look: in words that stand for its pattern and its lengths, and by an example; '' where one would be too long."""

    words: str
    example: str

    def __str__(self) -> str:
        """As an error says it."""
        return f"{self.words}, such as {self.example}" if self.example else self.words


#: The form that each pattern means.
FORMS: dict[str, Form] = {}


def _form(
    pattern: str, words: str, example: str, *, min_length: int | None = None, max_length: int | None = None
) -> StringConstraints:
    """The constraint on a kind of text.

    :param words: what the pattern and the lengths allow, such as "at most 20 small letters".
    :param example: a text that is allowed, or ''.
    """
    FORMS[pattern] = Form(words, example)
    return StringConstraints(pattern=pattern, min_length=min_length, max_length=max_length)


def form_of(kind: Any) -> Form:
    """The form of a kind of text, such as ``EnvironmentName``."""
    return next(FORMS[str(one.pattern)] for one in get_args(kind) if isinstance(one, StringConstraints))


Name = Annotated[
    str,
    _form(
        r"^[a-z]([a-z0-9-]{0,20}[a-z0-9])?$",
        "at most 22 small letters, digits and hyphens, a letter first and no hyphen last",
        "name-1",
    ),
]
SiteName = Annotated[str, _form(r"^[a-z]$", "one small letter", "a")]
EnvironmentName = Annotated[
    str, _form(r"^[a-z][a-z0-9]{0,19}$", "at most 20 small letters and digits, a letter first", "lab")
]
Domain = Annotated[
    str,
    _form(
        r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
        "a DNS name with a dot, of small letters, digits and hyphens, at most 200 characters",
        "crm.example.internal",
        max_length=200,
    ),
]
KeyFile = Annotated[
    str,
    _form(
        r"^(~?/)[A-Za-z0-9@_./+-]+$",
        "the path of a file, from / or ~/ on, of letters, digits and @ _ . / + -",
        "~/jinku/name.pem",
    ),
]
#: Text that people read: one line, no control characters, no character with a meaning to a shell, nft or YAML.
#: A sentence never reaches a firewall (DESIGN.md, decision 1), but a diagram and a sheet print it.
Sentence = Annotated[
    str,
    _form(
        r"^[^\x00-\x1f\x7f\"'`$\\{}<>;|&]+$",
        "one line of 3 to 200 characters, none of them \" ' ` $ \\ { } < > ; | &",
        "head office",
        min_length=3,
        max_length=200,
    ),
]
Login = Annotated[
    str,
    _form(
        r"^[^\x00-\x20\x7f\"'`$\\{}<>;|&]{1,100}$",
        "1 to 100 characters, none of them a blank or \" ' ` $ \\ { } < > ; | &",
        "admin",
    ),
]
Account = Annotated[
    str,
    _form(r"^[a-z_][a-z0-9_-]{0,31}$", "at most 32 small letters, digits, _ and -, a letter or _ first", "root"),
]
Interface = Annotated[
    str,
    _form(
        r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$", "at most 15 letters, digits, _ . and -, a letter or digit first", "eth0"
    ),
]
Fingerprint = Annotated[
    str,
    _form(
        r"^SHA256:[A-Za-z0-9+/]{43}$",
        "the second word that `ssh-keygen -lf` prints, SHA256: and 43 characters",
        "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
    ),
]
OpenPgpKey = Annotated[
    str,
    _form(
        r"^[A-Za-z0-9+/]{100,}={0,2}$",
        "the one line that `gpg --export NAME | base64 -w0` prints, at most 20000 characters",
        "",
        max_length=20000,
    ),
]
Mail = Annotated[
    str,
    _form(
        r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$",
        "a mail address of at most 254 characters",
        "ops@example.com",
        max_length=254,
    ),
]
Mailbox = Annotated[
    str,
    _form(
        r"^[A-Za-z0-9._+-]+@([a-z0-9-]+\.)+[a-z][a-z0-9-]*$",
        "a mail address of at most 200 characters, small letters and a dot after the @",
        "ops@example.com",
        max_length=200,
    ),
]
UpsName = Annotated[
    str,
    _form(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,29}$", "at most 30 letters, digits, _ and -, a letter or digit first", "ups-1"),
]
Oid = Annotated[
    str,
    _form(
        r"^1\.3(\.(0|[1-9][0-9]*)){3,}$",
        "numbers with dots between, 1.3 and at least three more, at most 200 characters",
        "1.3.6.1.2.1.33.1.2.4.0",
        max_length=200,
    ),
]
UrlPath = Annotated[
    str,
    _form(
        r"^/[A-Za-z0-9/_.-]*$",
        "a path from / on, of letters, digits and / _ . -, at most 200 characters",
        "/alerts",
        max_length=200,
    ),
]
Folder = Annotated[
    str,
    _form(
        r"^(/[A-Za-z0-9@_.-]+)+$",
        "the path of a folder, from / on and without one at its end, of letters, digits and @ _ . -",
        "/etc/ssl/crm",
    ),
]
BlockDevice = Annotated[
    str,
    _form(
        r"^/dev/[A-Za-z0-9/_.:+-]+$",
        "the path of a disk under /dev/, of letters, digits and / _ . : + -",
        "/dev/disk/by-id/virtio-data1",
    ),
]


def _directory(text: str) -> str:
    """Accept an https URL whose port, where one is given, is a port."""
    try:
        port = urlsplit(text).port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(f"is {text!r}, which has no such port; one from 1 to 65535, or none for 443")
    return text


DirectoryUrl = Annotated[
    str,
    _form(
        r"^https://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?$",
        "a URL that begins with https://, without user, query and fragment",
        "https://acme.example.internal/directory",
    ),
    AfterValidator(_directory),
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
    str,
    _form(
        r"^[A-Z][A-Za-z0-9_+-]+(/[A-Z][A-Za-z0-9_+-]+)*$",
        "a time zone by its name in the tz database",
        "Asia/Shanghai",
    ),
    AfterValidator(_time_zone),
]


def _no_number(value: object) -> object:
    """Refuse a number, which would be taken for the bits of an address: 5 for 0.0.0.5, and, in YAML 1.1, 1:2:3:4:5:6:7:8 for one, too."""
    if isinstance(value, int | bytes):
        raise PydanticCustomError("address_of_number", "is a number")  # error_wording finds the words
    return value


Address4 = Annotated[IPv4Address, BeforeValidator(_no_number)]
Address6 = Annotated[IPv6Address, BeforeValidator(_no_number)]
Network4 = Annotated[IPv4Network, BeforeValidator(_no_number)]
Network6 = Annotated[IPv6Network, BeforeValidator(_no_number)]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Duty = Literal["system", "audit", "security"]


class Section(BaseModel):
    """Base of every section: unknown keys are errors and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
