# SPDX-License-Identifier: GPL-3.0-or-later
"""What Ansible does with OpenBao: the controller's side is jinku.vault, the host's side two small programs of the roles.

    - name: Configure the vault
      vault:
        step: configure

| step      | runs                          | does                                                                              |
|-----------|-------------------------------|-----------------------------------------------------------------------------------|
| package   | on the host                   | installs the package openbao where the host's image did not bring it              |
| server    | on a vault host               | makes its keys, has the root sign its certificate, starts it (`restart`: again,   |
|           |                               | unless it began after its settings were written)                                  |
| configure | on the controller, once       | initialises the vault, brings mounts, authorities, policies and roles up to date  |
| wrap      | on the controller, once       | a bootstrap for each of `hosts`: wrapped, for one use, within ten minutes         |
| enrol     | on the host                   | hands over the `bootstrap` (standard input); the host makes its key and enrols;   |
|           |                               | returns `refused`, the words of whoever refused, for the task itself is no_log     |
| database  | on the controller, once       | connects the database engine, once PostgreSQL runs                                |

Each returns changed and `changes`, what was done. No secret is in an argument of a process, in a file or in a result that
is not marked no_log.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from hvac.exceptions import VaultError as HvacError

from jinku import vault
from jinku.on_host import MARK
from jinku.parts import PartError, ensure_part, part_version
from jinku.people_access import ensure_lab_second_factors
from jinku.pki import PkiError, certifies, ensure_operators, ensure_root
from jinku.places import Places, cache_root

#: Days for which the vault's own certificate is valid, and how many must be left after a run: longer than a cold spell.
LIFE, LEFT = 397, 120


def _without(text: str, secrets: dict[str, Any]) -> str:
    """Return a text with no value of ``secrets`` in it."""
    for value in sorted({str(value) for value in secrets.values() if value}, key=len, reverse=True):
        text = text.replace(value, "(hidden)")
    return text


class ActionModule(ActionBase):
    """The `vault` action."""

    _VALID_ARGS = frozenset(("step", "hosts", "bootstrap", "restart"))

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return changed and changes; raises AnsibleActionFail with the words of whoever refused."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        steps = {
            "package": self._package,
            "server": self._server,
            "configure": self._configure,
            "wrap": self._wrap,
            "enrol": self._enrol,
            "database": self._database,
        }
        step = self._task.args.get("step")
        if step not in steps:
            raise AnsibleActionFail(f"vault: step: {step!r} is unknown; one of {', '.join(steps)}")
        try:
            return steps[step]()
        except (vault.VaultError, PkiError, PartError, HvacError) as error:
            raise AnsibleActionFail(str(error)) from error

    def _fleet(self) -> vault.Fleet:
        """Return the fleet; the authorities outside the vault are made where they are missing."""
        fleet = vault.Fleet.of_variables(self._variables)
        self._root = ensure_root(Places(fleet.environment))
        ensure_operators(Places(fleet.environment))
        return fleet

    def _result(self, changes: list[str], **more: Any) -> dict[str, Any]:
        diff = {"before": "", "after": "".join(f"{change}\n" for change in changes)}
        return {"changed": bool(changes), "changes": changes, **({"diff": diff} if changes else {}), **more}

    def _on_host(self, command: str, given: str | None = None) -> str:
        """Run a command on the host, `given` on its standard input, and return its output."""
        data = given.encode() if given is not None else None
        done = self._low_level_execute_command(command, in_data=data)
        if done["rc"]:
            raise AnsibleActionFail(f"{command.split(maxsplit=1)[0]}: {(done['stderr'] or done['stdout']).strip()}")
        return str(done["stdout"])

    def _package(self) -> dict[str, Any]:
        self._fleet()  # the roles ship the root's certificate next
        query = "dpkg --print-architecture && dpkg-query -W -f='${db:Status-Status} ${Version}' openbao || true"
        architecture, *rest = self._on_host(query).splitlines()
        wanted = part_version("openbao")
        if rest and rest[0] == f"installed {wanted}":
            return self._result([])
        if not self._task.check_mode:
            package = ensure_part("openbao", cache_root(), architecture=architecture)
            folder = self._connection._shell.tmpdir or self._make_tmp_path()
            there = self._transfer_file(str(package), f"{folder}/{package.name}")
            try:
                self._on_host(f"dpkg --install {there} && {{ {MARK}; }}")
            finally:
                self._remove_tmp_path(folder)
        return self._result([f"package openbao {wanted}"])

    def _server(self) -> dict[str, Any]:
        fleet = self._fleet()
        check = " --check" if self._task.check_mode else ""
        try:
            found = json.loads(self._on_host(f"/usr/local/sbin/jinku-vault prepare{check}"))
        except AnsibleActionFail:
            if self._task.check_mode:
                return self._result(["the vault's server"])  # its program is not there yet
            raise
        changes = list(found["made"])
        name = str(self._variables["jinku_node"]["name"])
        (machine,) = (machine for machine in fleet.machines if machine.name == name)
        wanted = {"names": list(dict.fromkeys([fleet.vault_name, *machine.names])), "addresses": machine.addresses}
        if not certifies(found["certificate"], found["request"], self._root, days=LEFT, **wanted):
            changes.append("/etc/openbao/tls/server.pem")
            if not check:
                signed = self._root.sign_server(found["request"].encode(), **wanted, days=LIFE)
                self._on_host("/usr/local/sbin/jinku-vault certificate", signed.decode())
        # A restart closes a vault that its operators have opened, so files that a run before shipped are no reason for one.
        again = bool(self._task.args.get("restart", False)) and (bool(check) or found["outdated"])
        if found["unit"] != "active" or again:
            changes.append("openbao.service started")
            if not check:
                self._on_host(f"/usr/local/sbin/jinku-vault start{' --again' if again else ''}")
        if changes and not check:
            self._on_host(MARK)
        return self._result(changes)

    def _configure(self) -> dict[str, Any]:
        fleet, dry = self._fleet(), bool(self._task.check_mode)
        if dry and not self._initialised(fleet):
            return self._result(["sys/init"])
        with vault.through_the_bastion(fleet) as door:
            if dry and not door.health()["initialized"]:
                return self._result(["sys/init"])
            changes = [] if dry else vault.initialise(fleet, door)
            with vault.manager(fleet, door) as client:
                changes += vault.configure(fleet, client, dry=dry)
                with vault.operator(fleet, door, "audit") as auditor:
                    changes += vault.revoke_leavers(fleet, client, auditor, dry=dry)
                changes += [] if dry else vault.export_authorities(fleet, client)
                changes += [] if dry else ensure_lab_second_factors(fleet, client)
        return self._result(changes)

    @staticmethod
    def _initialised(fleet: vault.Fleet) -> bool:
        """Return whether this controller has initialised a vault; before that a dry run has nobody to ask."""
        return (fleet.state / "vault" / "recovery.json").exists()

    def _wrap(self) -> dict[str, Any]:
        if self._task.check_mode:
            return self._result([], bootstraps={})
        fleet = self._fleet()
        with vault.through_the_bastion(fleet) as door, vault.manager(fleet, door) as client:
            made = vault.wrap(fleet, client, [str(name) for name in self._task.args["hosts"]])
        return self._result([], bootstraps={name: asdict(bootstrap) for name, bootstrap in made.items()})

    def _enrol(self) -> dict[str, Any]:
        if not self._task.check_mode:
            bootstrap = self._task.args["bootstrap"]
            try:
                self._on_host("/usr/local/sbin/jinku-enrol enrol", json.dumps(bootstrap))
            except AnsibleActionFail as error:  # the task is no_log: another one says the words, without the secret
                return self._result([], refused=_without(str(error), bootstrap))
        return self._result(["/etc/jinku/identity"])

    def _database(self) -> dict[str, Any]:
        fleet, dry = self._fleet(), bool(self._task.check_mode)
        if dry and not self._initialised(fleet):
            return self._result(["database/config/crm"])
        with vault.through_the_bastion(fleet) as door, vault.manager(fleet, door) as client:
            return self._result(vault.configure_database(fleet, client, dry=dry))
