# SPDX-License-Identifier: Apache-2.0
"""What the vault holds for an environment: authorities, policies, a role for each machine, secrets that are made once.

Two authorities inside. `pki_int` is signed by the root and makes the leaves that services show each other (72 hours).
`pki_identity` is known to nobody but OpenBao itself: its certificates (a year) only let a machine log in.
"""

import secrets

import hvac

from jinku.pki import Authority, remaining_days
from jinku.vault.backup_key import keep_backup_key
from jinku.vault.fleet import Fleet, Machine
from jinku.vault.people import TOKENS, configure_people
from jinku.vault.policies import policies_of, tier_policies
from jinku.vault.settings import Settings

__all__ = ["configure"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY
_INTERMEDIATE_YEARS = 5
_RENEW_INTERMEDIATE_DAYS = 400


def configure(fleet: Fleet, client: hvac.Client, *, dry: bool = False) -> list[str]:
    """Bring the vault to what the topology says; return the paths that changed (or would, when `dry`).

    `client` is logged in as manager. The root's key is needed only when the intermediate is made or renewed.
    Raises hvac's errors when the vault refuses, PkiError when the root's key is needed and kept offline.
    """
    settings = Settings(client, dry)
    _policies(fleet, settings)
    configure_people(fleet, settings)
    issuing = _intermediate(fleet, settings)
    identity = _identity(fleet, settings)
    methods = [
        settings.mount("auth", name, plugin, _HOUR) for name, plugin in (("hosts", "cert"), ("approle", "approle"))
    ]
    if not (issuing and identity and all(methods)):
        return settings.changes  # a dry run on an empty vault: what follows cannot be compared yet
    _secrets(fleet, settings)
    for machine in fleet.machines:
        _machine(machine, identity, settings)
    _volumes(fleet, settings)
    known = {f"host-{machine.name}" for machine in fleet.machines}
    for path in ("auth/hosts/certs", "auth/approle/role", "pki_int/roles", "pki_identity/roles"):
        settings.drop_others(path, "host-", known)
    keep_backup_key(fleet, settings)
    return settings.changes


def _secrets(fleet: Fleet, settings: Settings) -> None:
    """Have a place for secrets that people bring, and in it those that are made here, once, and not read again.

    They are the accounts of a simulated room and its batteries, and the key from which the CRM derives the secrets of its people's
    one-time codes.
    """
    if not settings.mount("mounts", "kv", "kv", _YEAR):
        return
    if fleet.of_tier("room"):
        if "room" not in settings.names("kv/monitor"):
            account = {"user": "monitor", "authentication": secrets.token_hex(16), "privacy": secrets.token_hex(16)}
            settings.write("kv/monitor/room", account)
        for name in sorted({"host", "primary"} - set(settings.names("kv/power"))):
            settings.write(f"kv/power/{name}", {"user": name, "password": secrets.token_hex(16)})
    if fleet.of_tier("crm") and "factor" not in settings.names("kv/crm"):
        settings.write("kv/crm/factor", {"key": secrets.token_hex(32)})


def _policies(fleet: Fleet, settings: Settings) -> None:
    wanted = policies_of(fleet)
    for name, text in wanted.items():
        settings.keep(f"sys/policies/acl/{name}", {"policy": text})
    for prefix in ("host-", "enrol-", "person-"):
        settings.drop_others("sys/policies/acl", prefix, set(wanted))


def _intermediate(fleet: Fleet, settings: Settings) -> bool:
    """Have the intermediate authority in `pki_int`, signed by the root; renewed a year before its end."""
    if not settings.mount("mounts", "pki_int", "pki", 30 * _DAY):
        return False
    found = _authority("pki_int", settings)
    if found and remaining_days(found.encode()) > _RENEW_INTERMEDIATE_DAYS:
        return True
    name = f"Jinku inside {fleet.environment}"
    request = {"common_name": name, "key_type": "ec", "key_bits": 384}
    answer = settings.write("pki_int/intermediate/generate/internal", request)
    if settings.dry:
        return bool(found)
    root = Authority(fleet.state / "pki", "root")
    certificate = root.sign_intermediate(answer["csr"].encode(), name, _INTERMEDIATE_YEARS).decode()
    made = settings.write("pki_int/intermediate/set-signed", {"certificate": certificate})
    settings.write("pki_int/config/issuers", {"default": made["imported_issuers"][0]})
    return True


def _identity(fleet: Fleet, settings: Settings) -> str:
    """Have the authority of the machines' identities; return its certificate, PEM, or nothing in a dry run."""
    if not settings.mount("mounts", "pki_identity", "pki", 10 * _YEAR):
        return ""
    found = _authority("pki_identity", settings)
    if found:
        return found
    request = {"common_name": f"Jinku machines {fleet.environment}", "key_type": "ec", "key_bits": 384}
    made = settings.write("pki_identity/root/generate/internal", {**request, "ttl": 10 * _YEAR})
    return str(made.get("certificate", ""))


def _authority(mount: str, settings: Settings) -> str:
    """Return the certificate (PEM) of the authority at `mount`, or nothing when it has none yet."""
    if not settings.names(f"{mount}/issuers"):
        return ""
    found = settings.read(f"{mount}/cert/ca") or {}
    return str(found.get("certificate", ""))


#: What opens a role is named as well, though it is the default: `keep` leaves alone what it is not told of.
_EXACT = {
    "allow_any_name": False,
    "enforce_hostnames": True,
    "allowed_uri_sans": [],
    "allowed_other_sans": [],
    "allowed_domains_template": False,
    "allow_wildcard_certificates": False,
    "allow_bare_domains": True,
    "allow_subdomains": False,
    "allow_glob_domains": False,
    "allow_localhost": False,
    # an end in a role would hold past every length of life, and names that are not looked at are anybody's
    "not_after": "",
    "not_before": "",
    "cn_validations": ["email", "hostname"],
    "allow_token_displayname": False,
    "code_signing_flag": False,
    "ext_key_usage": [],
    "ext_key_usage_oids": [],
    "basic_constraints_valid_for_non_ca": False,
    "issuer_ref": "default",
    "key_type": "ec",
    "key_bits": 256,
    "key_usage": ["DigitalSignature"],
}


def _machine(machine: Machine, identity: str, settings: Settings) -> None:
    """One machine: what its certificates may say, how it logs in, and how it does so for the first time."""
    role = f"host-{machine.name}"
    leaf = {"allowed_domains": machine.names, "allow_ip_sans": True, "allowed_ip_sans_cidr": machine.networks}
    settings.keep(
        f"pki_int/roles/{role}",
        {**_EXACT, **leaf, "max_ttl": 3 * _DAY, "ttl": 3 * _DAY},
    )
    own = {"allowed_domains": [machine.fqdn], "allow_ip_sans": False, "server_flag": False, "client_flag": True}
    settings.keep(
        f"pki_identity/roles/{role}",
        {**_EXACT, **own, "use_csr_sans": False, "max_ttl": _YEAR, "ttl": _YEAR},
    )
    # bound to the machine's addresses: a stolen identity logs in from nowhere else
    tokens = {
        **TOKENS,
        "token_bound_cidrs": machine.networks,
        "token_ttl": _HOUR,
        "token_max_ttl": _HOUR,
        "display_name": role,
    }
    settings.keep(
        f"auth/hosts/certs/{role}",
        {
            **tokens,
            "certificate": identity,
            "allowed_common_names": [machine.fqdn],
            "token_policies": [role, *tier_policies(machine)],
        },
    )
    settings.keep(
        f"auth/approle/role/{role}",
        {
            "bind_secret_id": True,
            "secret_id_num_uses": 1,
            "secret_id_ttl": 10 * _MINUTE,
            "secret_id_bound_cidrs": machine.networks,
            "token_bound_cidrs": machine.networks,
            "token_policies": [f"enrol-{machine.name}"],
            "token_no_default_policy": True,
            "token_ttl": 5 * _MINUTE,
            "token_max_ttl": 5 * _MINUTE,
            **TOKENS,
            "token_num_uses": 1,
        },
    )


def _volumes(fleet: Fleet, settings: Settings) -> None:
    """A key for each machine, made inside and never shown, that wraps the keys of its volumes.

    The key of a machine that has left stays: without it nothing opens a volume that may still be somewhere.
    """
    if not settings.mount("mounts", "volumes", "transit", _DAY):
        return
    # derived: what is wrapped for one volume cannot be unwrapped as another's
    wanted = {"type": "aes256-gcm96", "derived": True, "exportable": False, "allow_plaintext_backup": False}
    for machine in fleet.machines:
        settings.keep(f"volumes/keys/host-{machine.name}", wanted)
