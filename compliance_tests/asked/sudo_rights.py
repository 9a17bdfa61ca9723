# SPDX-License-Identifier: Apache-2.0
"""Runs on a host as root: what sudo lets each account run, in sudo's own words. Prints ``<account>|<as whom>|<commands>`` a rule.

Sudo is asked about every account that a rule could mean: by name, number or group. If a rule means everybody, or by words that
only sudo can weigh (netgroups, plug-ins, negation, another source than files), it is asked about all accounts.
"""

import grp
import json
import pwd
import re
import subprocess
from pathlib import Path

RULE = re.compile(r"^\s*\(([^)]*)\)\s*(.*)$", re.MULTILINE)
OTHER_SOURCE = re.compile(r"^\s*sudoers\s*:(?!\s*files\s*$)", re.MULTILINE)


def told(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def meant(accounts):
    """Accounts that the rules could mean, and one that no rule names; all of them where that cannot be said."""
    everybody = {one.pw_name for one in accounts}
    if OTHER_SOURCE.search(Path("/etc/nsswitch.conf").read_text()):
        return everybody
    # --expand-aliases: no rule is left that hides behind a name.
    rules = json.loads(told("cvtsudoers", "-e", "-f", "json", "/etc/sudoers"))
    chosen = set()
    for rule in rules.get("User_Specs", []):
        for member in rule["User_List"]:
            kind, value = next(iter(member.items())) if len(member) == 1 else ("negated", "")
            if kind == "username" and value != "ALL":
                chosen |= {value} & everybody
            elif kind == "userid":
                chosen |= {one.pw_name for one in accounts if str(one.pw_uid) == str(value)}
            elif kind in ("usergroup", "usergid"):
                chosen |= of_group(accounts, kind, str(value))
            else:
                return everybody
    return chosen | {"nobody"} & everybody


def of_group(accounts, kind, value):
    try:
        group = grp.getgrnam(value) if kind == "usergroup" else grp.getgrgid(int(value))
    except KeyError:
        return set()
    return {one.pw_name for one in accounts if one.pw_gid == group.gr_gid or one.pw_name in group.gr_mem}


found = pwd.getpwall()
for name in sorted(meant(found)):
    said = subprocess.run(["sudo", "-n", "-l", "-U", name], capture_output=True, text=True, check=False).stdout
    for whom, commands in RULE.findall(said):
        print(f"{name}|{whom}|{commands}")
