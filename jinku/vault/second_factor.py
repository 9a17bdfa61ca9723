# SPDX-License-Identifier: Apache-2.0
"""The second technique of people: a one-time password that the vault asks for before it lets a person in and signs a key.

The vault keeps the secrets and compares; who has no secret yet, or a wrong code, gets no token and so no certificate. Machines and the
operators' authority (decision 5) log in by other methods and are not asked.
"""

import base64
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import hvac
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from filelock import FileLock
from hvac.exceptions import VaultError as HvacError

from jinku.vault.fleet import Fleet
from jinku.vault.settings import Settings

__all__ = ["configure_second_factor", "fresh_code", "has_secret", "login", "new_secret"]

_PERIOD, _DIGITS, _KEY_BYTES = 30, 6, 20
_NOTE = "one-time-password"
_METHODS, _ENFORCED = "identity/mfa/method/totp", "identity/mfa/login-enforcement/people"


def configure_second_factor(fleet: Fleet, settings: Settings) -> None:
    """Have one method, its enforcement for everybody who logs in as a person, and an entity for each person."""
    accessor = str(((settings.read("sys/auth") or {}).get("people/") or {}).get("accessor", ""))
    if not accessor:  # a dry run on a vault without people
        return
    method = _method(settings)
    if not method:
        return
    settings.keep(_ENFORCED, {"mfa_method_ids": [method], "auth_method_accessors": [accessor]})
    for person in fleet.people:
        path = f"identity/entity/name/person-{person.name}"
        settings.keep(path, {"policies": [], "disabled": False})
        entity = settings.read(path)
        if entity and not any(alias["mount_accessor"] == accessor for alias in entity.get("aliases") or ()):
            alias = {"name": person.name, "canonical_id": entity["id"], "mount_accessor": accessor}
            settings.write("identity/entity-alias", alias, f"identity/entity-alias of {person.name}")
    settings.drop_others("identity/entity/name", "person-", {f"person-{person.name}" for person in fleet.people})


def _method(settings: Settings) -> str:
    found = settings.names(_METHODS)
    if found:
        return found[0]
    wanted = {
        "method_name": "people",
        "issuer": "Jinku",
        "period": _PERIOD,
        "digits": _DIGITS,
        "algorithm": "SHA1",  # what every app and token computes; a code lives for half a minute
        "key_size": _KEY_BYTES,
        "skew": 1,
        "max_validation_attempts": 5,
    }
    return str(settings.write(_METHODS, wanted).get("method_id", ""))


def _entity(client: hvac.Client, name: str) -> dict[str, Any]:
    found = client.read(f"identity/entity/name/person-{name}")
    if found is None:
        raise HvacError(f"person-{name}: the vault knows nobody of that name; `jinku up` tells it who works here")
    return dict(found["data"])


def has_secret(manager: hvac.Client, name: str) -> bool:
    """Whether a secret was made for a person: the vault does not tell, so the entity carries a note. Raises hvac's errors."""
    return _NOTE in (_entity(manager, name).get("metadata") or {})


def new_secret(manager: hvac.Client, name: str) -> str:
    """Make a new secret for a person, in the place of an earlier one; return it as otpauth URL, which is told once.

    Raises hvac's errors, also for somebody whom the vault does not know.
    """
    method = manager.list(_METHODS)["data"]["keys"][0]
    one = {"method_id": method, "entity_id": _entity(manager, name)["id"]}
    manager.write_data(f"{_METHODS}/admin-destroy", data=one)  # with one in place, none would be made
    url = str(manager.write_data(f"{_METHODS}/admin-generate", data=one)["data"]["url"])
    manager.write_data(f"identity/entity/name/person-{name}", data={"metadata": {_NOTE: "made"}})
    return url


def fresh_code(url: str, used: Path) -> str:
    """A code that is valid now and was not used yet, from an otpauth URL: the vault takes each code once.

    It takes those of the half minutes before and after as well; when all that will last are used this waits for the next.
    :param used: file that remembers which were used, shared by all who log in as this person on this machine.
    """
    asked = parse_qs(urlparse(url).query)
    secret, period = asked["secret"][0], int(asked["period"][0])
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    totp = TOTP(key, int(asked["digits"][0]), SHA1(), period, enforce_key_length=False)  # noqa: S303 - see above
    with FileLock(f"{used}.lock"):
        known = used.read_text().split() if used.exists() else []
        while True:
            now, gone = divmod(time.time(), period)
            now = int(now)
            # That of the half minute before ends with this one: a slow login would come too late with it.
            lasting = (now, now + 1, now - 1) if gone < period / 2 else (now, now + 1)
            free = [step for step in lasting if str(step) not in known]
            if free:
                used.write_text(" ".join([*known[-5:], str(free[0])]))
                return totp.generate(free[0] * period).decode()
            time.sleep(1)


def login(client: hvac.Client, name: str, code: str) -> str:
    """Log in as a person, with the certificate that the client shows and a code; return the token. Raises hvac's errors."""
    first = client.write_data("auth/people/login", data={"name": name})["auth"]
    asked = first.get("mfa_requirement")
    if not asked:
        client.token = str(first["client_token"])
        client.auth.token.revoke_self()
        raise HvacError("the vault asks for no second technique; `jinku up` sets that up")
    methods = [one["id"] for constraint in asked["mfa_constraints"].values() for one in constraint["any"]]
    payload = {method: [code] for method in methods}
    answer = client.write_data(
        "sys/mfa/validate", data={"mfa_request_id": asked["mfa_request_id"], "mfa_payload": payload}
    )
    return str(answer["auth"]["client_token"])
