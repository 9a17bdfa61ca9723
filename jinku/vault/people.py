# SPDX-License-Identifier: Apache-2.0
"""The vault's part for people: who may log in, the authorities that sign SSH certificates, and the end of a leaver's tokens.

`ssh_people` signs people's keys for hours, `ssh_hosts` the hosts' keys for weeks. Both keys are made inside and never leave.
"""

from typing import Any

import hvac
from hvac.exceptions import InvalidRequest

from jinku.pki import Authority
from jinku.vault.fleet import Fleet, Machine, Person
from jinku.vault.second_factor import configure_second_factor
from jinku.vault.settings import Settings
from jinku.vault.tokens import live_tokens

__all__ = [
    "DUTY_POLICY",
    "HOST_CA",
    "SIGNED_SECONDS",
    "TOKENS",
    "USER_CA",
    "configure_people",
    "export_authorities",
    "revoke_leavers",
]

_HOUR, _DAY = 3600, 86400
#: How long a person's SSH certificate is valid: a working day.
SIGNED_SECONDS = 8 * _HOUR
_HOST_SECONDS = 30 * _DAY
#: What every login gives: tokens that can be ended (batch tokens cannot, and no list has them) and that nothing makes last longer.
TOKENS = {"token_type": "default", "token_period": 0, "token_explicit_max_ttl": 0, "token_num_uses": 0}
#: Names of the files in <state>/ssh with the public keys of the two authorities.
USER_CA, HOST_CA = "user_ca.pub", "host_ca.pub"
#: What a duty may do at the vault beside having one's own key signed.
DUTY_POLICY = {"system": (), "audit": ("audit",), "security": ("manager",)}


def configure_people(fleet: Fleet, settings: Settings) -> None:
    """Have both SSH authorities, a role for each host and person, and the people's way in; nobody else's stays."""
    signing = _authority("ssh_people", SIGNED_SECONDS, settings)
    if _authority("ssh_hosts", _HOST_SECONDS, settings):
        for machine in fleet.machines:
            settings.keep(f"ssh_hosts/roles/host-{machine.name}", _host_role(machine))
        settings.drop_others("ssh_hosts/roles", "", {f"host-{machine.name}" for machine in fleet.machines})
    known = {person.name for person in fleet.people}
    if signing:
        for person in fleet.people:
            settings.keep(f"ssh_people/roles/{person.name}", _person_role(fleet, person))
        settings.drop_others("ssh_people/roles", "", known)
    if settings.mount("auth", "people", "cert", _HOUR):
        for person in fleet.people:
            settings.keep(f"auth/people/certs/{person.name}", _entry(fleet, person))
        settings.drop_others("auth/people/certs", "", known)
        configure_second_factor(fleet, settings)


def _authority(mount: str, life: int, settings: Settings) -> bool:
    """Have an SSH authority at `mount`; return whether it is there (in a dry run it may not be)."""
    if not settings.mount("mounts", mount, "ssh", life):
        return False
    if not _public_key(settings.client, mount):
        settings.write(f"{mount}/config/ca", {"generate_signing_key": True, "key_type": "ed25519"})
        return not settings.dry
    return True


def _public_key(client: hvac.Client, mount: str) -> str:
    try:
        answer = client.read(f"{mount}/config/ca")
    except InvalidRequest:  # so says the engine while it has no key
        return ""
    return str(answer["data"]["public_key"]).strip() if answer else ""


#: What opens a role is named as well, though it is the default: `keep` leaves alone what it is not told of. Without a principal a
#: host's certificate would be good for every host.
_EXACT = {
    "allow_empty_principals": False,
    "allowed_users_template": False,
    "allowed_domains_template": False,
    "default_user_template": False,
    "default_extensions_template": False,
    "not_before_duration": 30,
    "algorithm_signer": "default",
}


def _host_role(machine: Machine) -> dict[str, Any]:
    return {
        **_EXACT,
        "key_type": "ca",
        "allow_user_certificates": False,
        "allow_host_certificates": True,
        "allowed_domains": ",".join([machine.name, *machine.names, *machine.addresses]),
        "allow_bare_domains": True,
        "allow_subdomains": False,
        "ttl": _HOST_SECONDS,
        "max_ttl": _HOST_SECONDS,
    }


def _person_role(fleet: Fleet, person: Person) -> dict[str, Any]:
    # From where people work to the bastion, and from the bastion to the other hosts; a stolen certificate serves nowhere else.
    bastions = [address for machine in fleet.of_tier("bastion") for address in machine.addresses]
    allowed = ["permit-port-forwarding", "permit-pty"]
    return {
        **_EXACT,
        "key_type": "ca",
        "allow_user_certificates": True,
        "allow_host_certificates": False,
        "allowed_users": person.principal,
        "default_user": person.principal,
        "allow_user_key_ids": False,
        "key_id_format": f"{person.name}-{{{{public_key_hash}}}}",
        # An empty list would allow every option, and whoever names one replaces the defaults.
        "allowed_critical_options": "none-by-request",
        "default_critical_options": {"source-address": ",".join([*fleet.outside, *bastions])},
        "allowed_extensions": ",".join(allowed),
        "default_extensions": dict.fromkeys(allowed, ""),
        "ttl": SIGNED_SECONDS,
        "max_ttl": SIGNED_SECONDS,
    }


def _entry(fleet: Fleet, person: Person) -> dict[str, Any]:
    """A person logs in with a certificate of the operators' authority for a key that they have now, over the bastion."""
    bastions = [network for machine in fleet.of_tier("bastion") for network in machine.networks]
    return {
        "certificate": Authority(fleet.state / "pki", "operators").certificate_path.read_text(),
        "allowed_common_names": [person.name],
        "allowed_organizational_units": list(person.fingerprints),
        "token_policies": [f"person-{person.name}", *DUTY_POLICY[person.duty]],
        "token_bound_cidrs": bastions,
        "token_ttl": _HOUR,
        "token_max_ttl": _HOUR,
        # how the audit log calls them
        "display_name": person.name,
        **TOKENS,
    }


def export_authorities(fleet: Fleet, client: hvac.Client) -> list[str]:
    """Write the public keys of both authorities to <state>/ssh, from where roles ship them; return what changed."""
    changes = []
    for mount, name in (("ssh_people", USER_CA), ("ssh_hosts", HOST_CA)):
        path = fleet.state / "ssh" / name
        text = _public_key(client, mount) + "\n"
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            changes.append(str(path))
    return changes


def revoke_leavers(fleet: Fleet, manager: hvac.Client, auditor: hvac.Client, *, dry: bool = False) -> list[str]:
    """End every token that somebody got who no longer may (left, other duty, other keys); return whose.

    `manager` revokes, `auditor` looks. Raises hvac's errors.
    """
    ended = []
    for accessor, token in live_tokens(auditor):
        if not token["path"].startswith("auth/people/login"):
            continue
        name = str((token.get("meta") or {}).get("common_name", ""))
        person = next((one for one in fleet.people if one.name == name), None)
        wanted = {f"person-{name}", "default", *DUTY_POLICY[person.duty]} if person else set()
        shown = str((token.get("meta") or {}).get("subject_key_id", ""))
        if person is None or set(token["policies"]) - wanted or shown not in person.key_ids:
            ended.append(f"token of {name}")
            if not dry:
                manager.write_data("auth/token/revoke-accessor", data={"accessor": accessor})
    return ended
