# SPDX-License-Identifier: Apache-2.0
"""Asks the running vault whether there is a way in, or a right, that Jinku did not make: methods, policies, roles, tokens."""

from collections.abc import Iterator

import hvac

from jinku.pki import Authority
from jinku.vault.configuration import configure
from jinku.vault.fleet import Fleet
from jinku.vault.initialisation import ASKING
from jinku.vault.policies import DUTIES, policies_of
from jinku.vault.settings import Settings, plain
from jinku.vault.tokens import live_tokens

__all__ = ["strangers"]

_METHODS = {"token/", "operators/", "hosts/", "approle/", "people/"}
_ENGINES = {
    "sys/",
    "identity/",
    "cubbyhole/",
    "pki_int/",
    "pki_identity/",
    "database/",
    "ssh_people/",
    "ssh_hosts/",
    "volumes/",
    "backup/",
    "kv/",
}
_LOGINS = (
    "auth/operators/login",
    "auth/people/login",
    "auth/hosts/login",
    "auth/approle/login",
    "auth/token/create/expect",
)
#: What an engine or method says of itself when nobody set more. More may be that the audit log shows secrets in clear.
_SETTINGS = {"default_lease_ttl", "max_lease_ttl", "force_no_cache", "token_type"}
#: Those that the server has by itself, and that hand a header of a request on to it.
_BUILT_IN = {"sys/", "identity/"}
#: A machine's and an operator's token lives for an hour; what lives longer came by another way.
_LONGEST = 3600


def strangers(fleet: Fleet, manager: hvac.Client, auditor: hvac.Client) -> list[str]:
    """Return a line for each thing in the vault that is none of ours, or is ours and says something else.

    `manager` and `auditor` are logged in for these duties. What is ours is compared whole (a dry run of `configure`), so
    a policy that says more at a path that no expectation names is found as well. Raises hvac's errors.
    """
    found = [f"{path}: differs from what the topology says" for path in configure(fleet, manager, dry=True)]
    settings = Settings(manager, dry=True)
    return [*found, *_unknown(fleet, settings), *_asking(settings), *_duties(fleet, auditor), *_tokens(auditor)]


def _unknown(fleet: Fleet, settings: Settings) -> Iterator[str]:
    machines = {f"host-{machine.name}" for machine in fleet.machines}
    people = {person.name for person in fleet.people}
    for path, there, ours in (
        ("sys/auth", set(settings.read("sys/auth") or {}), _METHODS),
        ("sys/mounts", set(settings.read("sys/mounts") or {}), _ENGINES),
        ("sys/policies/acl", set(settings.names("sys/policies/acl")), {"root", "default", *policies_of(fleet)}),
        *((path, set(settings.names(path)), machines) for path in ("auth/hosts/certs", "auth/approle/role")),
        *(
            (path, set(settings.names(path)), machines)
            for path in ("pki_int/roles", "pki_identity/roles", "ssh_hosts/roles")
        ),
        *((path, set(settings.names(path)), people) for path in ("auth/people/certs", "ssh_people/roles")),
    ):
        yield from (f"{path}: {name} is none of ours" for name in sorted(there - ours))
    for path in ("sys/auth", "sys/mounts"):
        for name, said in sorted((settings.read(path) or {}).items()):
            more = set() if name in _BUILT_IN else set(said["config"]) - _SETTINGS
            yield from (f"{path}: {name} has {key} set, which is none of ours" for key in sorted(more))


def _asking(settings: Settings) -> Iterator[str]:
    """The role whose tokens come with any policy: for use from nowhere, never root's, for no longer than was asked for."""
    path = "auth/token/roles/expect"
    found = settings.read(path) or {}
    # A period has two names, and the one that is not set need not be told.
    for key, value in {**ASKING, "token_period": 0, "period": 0}.items():
        if plain(found.get(key, 0)) != plain(value):
            yield f"{path}: {key} is {found.get(key)}; {value}"


def _duties(fleet: Fleet, auditor: hvac.Client) -> Iterator[str]:
    """Who logs in as an operator: one entry a duty, each for certificates of our operators' authority and that duty only."""
    authority = Authority(fleet.state / "pki", "operators").certificate_path.read_text().strip()
    names = auditor.list("auth/operators/certs")["data"]["keys"]
    yield from (f"auth/operators/certs: {name} is none of ours" for name in sorted(set(names) - set(DUTIES)))
    for duty in DUTIES:
        entry = auditor.read(f"auth/operators/certs/{duty}")["data"]
        if entry["token_policies"] != [duty] or entry["allowed_organizational_units"] != [duty]:
            yield f"auth/operators/certs/{duty}: gives {entry['token_policies']} to {entry['allowed_organizational_units']}"
        if entry["certificate"].strip() != authority:
            yield f"auth/operators/certs/{duty}: believes in another authority"


def _tokens(auditor: hvac.Client) -> Iterator[str]:
    """Tokens that no login of ours gave, that are root's, or that outlive an hour."""
    for _, token in live_tokens(auditor):
        what = f"a token of {token['display_name']} with {', '.join(token['policies'])}"
        if "root" in token["policies"]:
            yield f"{what}: is root's"
        elif not token["path"].startswith(_LOGINS):
            yield f"{what}: was made by {token['path']}"
        elif not 0 < token["creation_ttl"] <= _LONGEST:
            yield f"{what}: lives for {token['creation_ttl']} s"
