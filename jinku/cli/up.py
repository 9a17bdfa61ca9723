# SPDX-License-Identifier: Apache-2.0
"""`jinku up`: from environment.yaml to running, configured and checked hosts."""

import time
from dataclasses import dataclass, field
from typing import Any

import click

from jinku import journal, pki, ssh_access
from jinku.cli import contact, examination, playbook, secret, sites
from jinku.cli.exit_codes import ExitCode, Failure
from jinku.cli.preflight import new_hosts, preflight
from jinku.cli.progress import Progress
from jinku.cli.selection import Selection, environment_option
from jinku.converge import Convergence
from jinku.holders import words_on_shares
from jinku.provision import SiteResult
from jinku.ssh_access import is_up


@dataclass
class _Outcome:
    """What the stages left, for the last lines and the journal."""

    sites: list[SiteResult] = field(default_factory=list)
    convergence: Convergence = field(default_factory=Convergence)
    check: ExitCode | None = None
    check_error: str = ""
    ended: bool = False

    @property
    def failed(self) -> list[str]:
        """What did not come up: sites and hosts."""
        hosts = sorted({trouble.host for trouble in self.convergence.troubles})
        unnamed = ["ansible-playbook"] if self.convergence.code and not hosts else []
        return [*(f"site {site.site}" for site in self.sites if site.error), *hosts, *unnamed]

    def as_json(self, seconds: float) -> dict[str, Any]:
        """For the journal."""
        return {
            "ok": self.ended and not self.failed,
            "seconds": round(seconds, 1),
            "resources_changed": sum(site.changed for site in self.sites),
            "hosts_changed": self.convergence.changed,
            "failed": self.failed,
            "check": self.check,
        }


@click.command("up")
@environment_option
def command(env: Selection) -> None:
    """Make the environment what environment.yaml says, and check it.

    Hosts, networks and volumes (Pulumi), then every file and setting (Ansible), then the control tests. Run again, it
    looks at everything again and changes only what differs; after an interruption it finishes the work.
    """
    preflight(env)
    begun = time.monotonic()
    outcome = _Outcome()
    with env.hold("up"), Progress() as progress:
        progress.line(f"environment {env.environment.name} ({env.file}), state in {env.places.state}", "bold")
        try:
            _stages(env, outcome, progress)
            outcome.ended = True  # else it was interrupted, and nothing is known to be in order
        finally:
            journal.write(env.places, "up", env.file, outcome.as_json(time.monotonic() - begun))
        _last_lines(env, outcome, progress, time.monotonic() - begun)
    if outcome.failed:
        raise Failure(f"did not come up: {', '.join(outcome.failed)}; the same command again goes on from here")
    if outcome.check:
        text = outcome.check_error or "see the report"
        raise Failure(f"the environment is up, but its check is not clean: {text}", outcome.check)


def _stages(env: Selection, outcome: _Outcome, progress: Progress) -> None:
    ssh_access.use_automation_key(env.topology, env.places)
    ssh_access.ensure_automation_key(env.places)
    if new := new_hosts(env):
        with progress.stage(f"first contact with {len(new)} hosts"):
            contact.make(env, new, progress.line)
    ssh_access.ensure_operator_keys(env.topology, env.places)
    try:
        pki.ensure_root(env.places)
    except pki.PkiError as error:
        raise Failure(str(error), ExitCode.PREREQUISITE) from None
    added = ssh_access.unknown(env.topology, env.places) if is_up(env.places) else []
    with progress.stage("hosts, networks and volumes (pulumi up)"):
        outcome.sites = sites.run("up", env, progress)
        nodes = {name: facts for site in outcome.sites for name, facts in site.outputs.get("nodes", {}).items()}
        ssh_access.write(env.topology, env.places, {name: facts["ssh_host_key"] for name, facts in nodes.items()})
    down = [site.site for site in outcome.sites if site.error]
    if len(down) == len(outcome.sites):
        return
    bastions = [node.name for node in env.topology.nodes_of("bastion") if node.site not in down]
    if added and (known := [name for name in bastions if name not in added]):
        # A bastion leads only to the hosts that it was told of.
        with progress.stage(f"the way to {', '.join(added)} (ansible-playbook)"):
            limit = ["--limit", ":".join(known), "--tags", "names,ssh,firewall"]
            outcome.convergence = playbook.run(env, limit, progress, verbose=False)
        if outcome.failed:
            return
    with progress.stage("files and settings (ansible-playbook)"):
        limit = ["--limit", ":".join(["all", *(f"!site_{site}" for site in down)])] if down else []
        outcome.convergence = playbook.run(env, limit, progress, verbose=False)
        playbook.show_times(outcome.convergence, progress)
        playbook.show_changes(outcome.convergence, progress)
    if outcome.failed:
        return
    with progress.stage("check"):
        try:
            outcome.check = examination.run(env, progress)
        except Failure as failure:  # the environment is up all the same, and its last lines are to be printed
            outcome.check, outcome.check_error = failure.code, str(failure)


def _last_lines(env: Selection, outcome: _Outcome, progress: Progress, seconds: float) -> None:
    progress.line("time per stage:", "bold")
    for title, spent in progress.stages:
        progress.line(f"{spent:7.1f} s  {title}")
    progress.line(f"{seconds:7.1f} s  in all")
    changed = outcome.convergence.changed
    if changed:
        total = sum(changed.values()) + sum(site.changed for site in outcome.sites)
        progress.line("nothing changed: changed=0 on every host" if not total else f"{total} changes")
    if outcome.failed:
        return
    names = env.topology.nodes_of("edge")
    server = next((alias for node in names for alias in node.aliases), "")
    addresses = ", ".join(str(node.address) for node in names)
    progress.line(f"CRM:    https://{server}/ (at {addresses})", "bold")
    for line in (*_login(env), *secret.lacking(env)):
        progress.line(line, "bold")
    for line in words_on_shares(env.places.vault, env.present):
        progress.line(line, "bold yellow")


def _login(env: Selection) -> list[str]:
    """Where the first administrator finds the way in; never the password itself."""
    return [f"login:  see {file}" for file in sorted(env.places.state.glob("crm/first-login.json"))]
