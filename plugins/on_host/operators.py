# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a host's named operator accounts to the list: groups, accounts, memberships, and the removal of whoever left."""

from __future__ import annotations

import grp
import os
import pwd
import time

from host_task import HostTask

FIRST_PERSON = 1000
# sshd starts the recorder by the account's own shell. Debian's bash would first read ~/.bashrc, and so run whatever its owner wrote
# there, unrecorded; this one reads nothing. The recorded shell is bash (jinku-shell).
SHELL = "/bin/sh"


class Accounts:
    """The account database of the host and what has to be done to it."""

    def __init__(self, task: HostTask) -> None:
        self.task, self.done = task, list[str]()

    def do(self, what: str, *command: str, may_fail: bool = False) -> None:
        """Note a change and, outside check mode, make it."""
        self.done.append(what)
        if not self.task.check_mode:
            code, out, err = self.task.run_command(list(command))
            if code != 0 and not may_fail:
                self.task.fail(f"{what}: `{' '.join(command)}` ended with {code}: {(err or out).strip()}")

    def ensure_group(self, name: str) -> None:
        """Make a system group."""
        if name not in {group.gr_name for group in grp.getgrall()}:
            self.do(f"group {name} added", "groupadd", "--system", name)

    def ensure_person(self, name: str, duty: str, groups: set[str], managed: set[str]) -> None:
        """Make an account without a password and set which of the managed groups it is in."""
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            self.do(
                f"account {name} added ({duty})",
                "useradd",
                "--create-home",
                "--user-group",
                "--shell",
                SHELL,
                "--comment",
                f"{duty} operator",
                name,
            )
            self.do(
                f"{name} joins {', '.join(sorted(groups))}",
                "usermod",
                "--append",
                "--groups",
                ",".join(sorted(groups)),
                name,
            )
            return
        if found.pw_uid < FIRST_PERSON:
            self.task.fail(f"environment.yaml: operators: {name!r} is a system account of this host; another name")
        if found.pw_shell != SHELL:
            self.do(f"shell of {name} is {SHELL}", "usermod", "--shell", SHELL, name)
        self.ensure_membership(name, groups, managed)
        self.ensure_locked(name)

    def ensure_membership(self, name: str, groups: set[str], managed: set[str]) -> None:
        """Be in `groups` and in none other of the managed ones."""
        current = {group.gr_name for group in grp.getgrall() if name in group.gr_mem}
        for group in sorted(groups - current):
            self.do(f"{name} joins {group}", "gpasswd", "--add", name, group)
        for group in sorted(current & (managed - groups)):
            self.do(f"{name} leaves {group}", "gpasswd", "--delete", name, group)

    def principal_held(self, name: str) -> str:
        """Last word of the person's line of principals, or nothing where there is no such file yet."""
        path = os.path.join(self.task.params["proofs"][0], name)
        try:
            with open(path, encoding="utf-8") as stream:
                words = stream.read().split()
        except OSError:
            return ""
        return words[-1] if words else ""

    def shut_out(self, name: str) -> None:
        """Take away what lets a person in, then end whatever runs in their name, forwarded connections and sudo included."""
        for folder in self.task.params["proofs"]:
            path = os.path.join(folder, name)
            if os.path.lexists(path):
                self.done.append(f"{path} removed")
                if not self.task.check_mode:
                    os.unlink(path)
        number = str(pwd.getpwnam(name).pw_uid)
        self.do(f"services of {name} stopped", "systemctl", "stop", f"user@{number}.service", may_fail=True)
        # By control group: what sudo started is root's, and no longer found by its account.
        self.do(
            f"sessions of {name} closed", "systemctl", "kill", "--signal=KILL", f"user-{number}.slice", may_fail=True
        )
        self.do(f"processes of {name} ended", "pkill", "-KILL", "-u", number, may_fail=True)

    def ensure_locked(self, name: str) -> None:
        """Have no password: keys only."""
        if self.has_password(name):
            self.do(f"password of {name} locked", "usermod", "--lock", name)

    @staticmethod
    def has_password(name: str) -> bool:
        """Tell whether a password opens the account."""
        with open("/etc/shadow", encoding="utf-8") as stream:
            for line in stream:
                fields = line.split(":")
                if fields[0] == name:
                    return not fields[1].startswith(("!", "*"))
        return False

    def remove(self, name: str) -> None:
        """End the sessions of a person who left, delete the account, and put the home aside."""
        person = pwd.getpwnam(name)
        if person.pw_uid < FIRST_PERSON:
            return
        self.do(f"account {name} expired", "usermod", "--expiredate", "1", name)
        self.shut_out(name)
        self.do(f"account {name} removed", "userdel", "--force", name)
        self.do(f"group {name} removed", "groupdel", name, may_fail=True)
        if not self.task.check_mode:
            if os.path.isdir(person.pw_dir) and not os.path.islink(person.pw_dir):
                os.chown(person.pw_dir, 0, 0)
                os.chmod(person.pw_dir, 0o700)
                os.rename(person.pw_dir, f"{person.pw_dir}.left-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
            crontab = f"/var/spool/cron/crontabs/{name}"
            if os.path.exists(crontab):
                os.unlink(crontab)


def main(task: HostTask) -> None:
    """Compare and change; tells what was done. The params are those of plugins/action/operators.py."""
    asked = task.params
    accounts = Accounts(task)
    always = {asked["mark"], asked["login"]}
    managed = always.union(*asked["duties"].values())
    present = {one["name"]: one["duty"] for one in asked["operators"] if one["name"] in asked["accounts"]}
    for group in sorted(managed):
        accounts.ensure_group(group)
    existing = {person.pw_name for person in pwd.getpwall()}
    for one in asked["operators"]:
        held = accounts.principal_held(one["name"])
        if one["name"] in present and one["name"] in existing and held and held != one["principal"]:
            accounts.shut_out(one["name"])
    for name, duty in present.items():
        accounts.ensure_person(name, duty, always.union(asked["duties"][duty]), managed)
    marked = {name for group in grp.getgrall() if group.gr_name == asked["mark"] for name in group.gr_mem}
    leavers = marked | {one["name"] for one in asked["operators"]}
    for name in sorted((leavers & existing) - set(present) - {asked["automation"]}):
        accounts.remove(name)
    accounts.ensure_membership(asked["automation"], {asked["login"]}, {asked["login"]})
    for name in ("root", asked["automation"]):
        accounts.ensure_locked(name)
    # As plugins/on_host/tree.py does, for hardening/integrity.
    if accounts.done and not task.check_mode and os.path.isdir("/var/lib/jinku"):
        with open("/var/lib/jinku/changed", "a", encoding="utf-8"):
            pass
    after = "".join(f"{line}\n" for line in accounts.done)
    task.end(
        changed=bool(accounts.done), done=accounts.done, diff={"before": "", "after": after, "after_header": "accounts"}
    )
