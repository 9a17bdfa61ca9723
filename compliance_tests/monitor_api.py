# SPDX-License-Identifier: Apache-2.0
"""Questions to the monitor's programs, asked on its host with its own certificate."""

import json
import re
from urllib.parse import quote

import yaml
from asking import ask

from jinku.evidence.waiting import trials
from jinku.model.alarms import alerts_of
from jinku.model.profiles import ALIASES
from jinku.model.topology import LOOPBACK

OWN = ("/etc/jinku/tls/host.pem", "/etc/jinku/tls/host.key")


def _routes(route):
    """A route of Alertmanager's and all below it."""
    yield route
    for one in route.get("routes") or []:
        yield from _routes(one)


def _beside_duty(route):
    """What a route looks at beside an alarm's duty (the heartbeat has ways of its own)."""
    told = [*(route.get("matchers") or []), *(route.get("match") or {}), *(route.get("match_re") or {})]
    odd = [one for one in told if one != 'alertname="Watchdog"' and not re.fullmatch(r'duty="\w+"', one)]
    return odd + [f"hours: {route[key]}" for key in ("mute_time_intervals", "active_time_intervals") if route.get(key)]


def _of_a_host_that_is_away(rule):
    """Whether it is the one rule by which alarms are silent: those of a host that does not answer."""
    return rule.get("source_matchers") == ['alertname="HostDown"'] and rule.get("equal") == ["node"]


class Monitor:
    """Prometheus and Alertmanager of an environment. ``node``: the host that they run on.

    Just after an `up` that changed them they have looked at nothing yet; that is waited for, once a session, 90 s at most.
    """

    def __init__(self, fleet, topology, subject):
        """Take the one on the assessed node, or the first."""
        nodes = topology.nodes_of("monitor")
        self.node = next((node for node in nodes if node.name == subject.node), nodes[0])
        self.host = fleet.host(self.node.name)
        self.name = f"{ALIASES['monitor']}.{topology.env.domain}"
        alerts = alerts_of(topology.env)
        self.ways = {way for way, named in (("email", alerts.mail), ("webhook", alerts.webhook)) if named}
        self._again = ""
        for trial in trials("the monitor's first looks"):
            self._again = f"trial={trial}" if trial else ""
            if self._has_begun():
                break

    def _has_begun(self):
        """Whether every target was looked at, every rule evaluated, and the heartbeat went out by each way.

        One that does not answer may only be starting; if it is more than that, the tests' own questions say so.
        """
        try:
            return (
                all(target["health"] != "unknown" for target in self._targets())
                and all(rule["health"] != "unknown" for rule in self.rules().values())
                and all(self.delivered().get(way) for way in self.ways)
            )
        except AssertionError:
            return False

    def get(self, program, path):
        """The JSON at a path of a program. :raises AssertionError: it does not answer."""
        # What was asked before the programs had begun is asked anew: the same question is asked once a session.
        path += ("&" if "?" in path else "?") + self._again if self._again else ""
        said = ask(self.host, "mtls_get.py", "127.0.0.1", str(LOOPBACK[program]), self.name, path, *OWN)
        status, _, body = said.partition("\n")
        assert status == "status 200", f"{program}: {path}: {said[:300]}"
        return json.loads(body)

    def query(self, expression, anew=0):
        """Samples of an expression: (labels, value). ``anew``: the number of the time that it is asked."""
        again = f"&anew={anew}" if anew else ""
        found = self.get("prometheus", f"/api/v1/query?query={quote(expression)}{again}")
        return [(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    def _targets(self):
        return self.get("prometheus", "/api/v1/targets?state=active")["data"]["activeTargets"]

    def looks(self, job, node, expression):
        """What an expression tells of a job's targets at a node, by instance; None of one that it does not know.

        Of its present targets only: for five minutes more it answers for those that it had before its settings changed.
        """
        present = [target["labels"] for target in self._targets()]
        told = self.query(expression)
        return {
            labels["instance"]: next((value for of, value in told if labels.items() <= of.items()), None)
            for labels in present
            if (labels["job"], labels.get("node")) == (job, node)
        }

    def appeared(self, expression, enough=bool):
        """Samples of what a host's own programs tell each minute; until they are ``enough`` they are waited for, 60 s at most."""
        samples = []
        for trial in trials(expression, times=7):
            samples = self.query(expression, anew=trial)
            if enough(samples):
                break
        return samples

    def rules(self):
        """Alarm rules that Prometheus has loaded, by name, each with its expression, health and labels."""
        groups = self.get("prometheus", "/api/v1/rules?type=alert")["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    def settings(self, program):
        """The settings that a program (prometheus, alertmanager) runs with, by its own word; secrets left out."""
        if program == "alertmanager":
            return yaml.safe_load(self.get(program, "/api/v2/status")["config"]["original"])
        return yaml.safe_load(self.get(program, "/api/v1/status/config")["data"]["yaml"])

    def left_out(self):
        """In words, what the programs' own settings take out of the alarms' way: routes and hours of their own, labels that are dropped."""
        told, asks = self.settings("alertmanager"), self.settings("prometheus")
        found = [f"a route for {', '.join(odd)}" for route in _routes(told["route"]) if (odd := _beside_duty(route))]
        found += [f"hours: {hours}" for hours in (told.get("time_intervals"), told.get("mute_time_intervals")) if hours]
        quiet = [rule for rule in told.get("inhibit_rules") or [] if not _of_a_host_that_is_away(rule)]
        found += [f"one alarm that keeps others silent: {rule}" for rule in quiet]
        dropped = (asks.get("alerting") or {}).get("alert_relabel_configs")
        found += [f"alarms are changed on their way: {dropped}"] if dropped else []
        changed = (job["job_name"] for job in asks["scrape_configs"] if job.get("metric_relabel_configs"))
        return found + [f"what {name} tells is changed" for name in changed]

    def written_to(self):
        """Addresses that each receiver of Alertmanager writes mail to."""
        return {
            receiver["name"]: {one for mail in receiver["email_configs"] for one in re.split(r",\s*", mail["to"])}
            for receiver in self.settings("alertmanager")["receivers"]
            if receiver.get("email_configs")
        }

    def without_a_way(self):
        """Receivers of Alertmanager by which nothing goes out, neither by mail nor by webhook."""
        receivers = self.settings("alertmanager")["receivers"]
        return {one["name"] for one in receivers if not one.get("email_configs") and not one.get("webhook_configs")}

    def delivered(self):
        """Most notifications that a receiver took between two starts of Alertmanager in the last hour, by way (email, webhook).

        Its counters begin anew with it, and what it sent before it does not send again at once.
        """
        took = "sum by (integration) (alertmanager_notifications_{}total)"
        expression = f"max_over_time(({took.format('')} - {took.format('failed_')})[1h:15s])"
        return {labels["integration"]: int(number) for labels, number in self.query(expression)}

    def silences(self):
        """What Alertmanager keeps silent, now or from a later moment on: the matchers of each, in words."""
        return [
            ", ".join(f"{one['name']}={one['value']}" for one in silence["matchers"])
            for silence in self.get("alertmanager", "/api/v2/silences")
            if silence["status"]["state"] != "expired"
        ]

    def loaded_at(self, program):
        """When a program (prometheus, alertmanager) last took its settings, Unix seconds, by its own word."""
        said = ask(self.host, "mtls_get.py", "127.0.0.1", str(LOOPBACK[program]), self.name, "/metrics", *OWN)
        name = f"{program}_config_last_reload_success_timestamp_seconds"
        found = re.search(rf"^{name} ([0-9.e+]+)$", said, re.MULTILINE)
        assert found, f"{program}: {said[:200]}"
        return float(found[1])

    def receivers(self, **labels):
        """Receivers to which Alertmanager's own routing leads an alarm with these labels."""
        words = " ".join(f"{key}={value}" for key, value in labels.items())
        said = self.host.check_output(
            f"amtool config routes test --config.file=/etc/prometheus/alertmanager.yml {words}"
        )
        return {name for line in said.split() for name in line.split(",")}

    def rule_tests(self, name):
        """Run the tests of a file of alarm rules against the installed rules, by the same engine. What it said, '' if all hold."""
        done = self.host.run(f"cd /etc/prometheus/tests && promtool test rules {name}.yml 2>&1")
        return "" if done.rc == 0 else done.stdout[-1500:]
