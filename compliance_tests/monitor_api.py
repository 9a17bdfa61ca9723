# SPDX-License-Identifier: Apache-2.0
"""Questions to the monitor's programs, asked on its host with its own certificate."""

import json
from urllib.parse import quote

from asking import ask, trials

from jinku.model.profiles import ALIASES
from jinku.model.topology import LOOPBACK

OWN = ("/etc/jinku/tls/host.pem", "/etc/jinku/tls/host.key")
#: What a check right behind an `up` that changed the monitor waits for, as :func:`asking.trials` knows it.
FIRST_LOOKS = "the first looks and evaluations of the monitor"


class Monitor:
    """Prometheus and Alertmanager of an environment. ``node``: the host that they run on."""

    def __init__(self, fleet, topology, subject):
        """Take the one on the assessed node, or the first."""
        nodes = topology.nodes_of("monitor")
        self.node = next((node for node in nodes if node.name == subject.node), nodes[0])
        self.host = fleet.host(self.node.name)
        self.name = f"{ALIASES['monitor']}.{topology.env.domain}"

    def get(self, program, path):
        """The JSON at a path of a program. :raises AssertionError: it does not answer."""
        said = ask(self.host, "mtls_get.py", "127.0.0.1", str(LOOPBACK[program]), self.name, path, *OWN)
        status, _, body = said.partition("\n")
        assert status == "status 200", f"{program}: {path}: {said[:300]}"
        return json.loads(body)

    def query(self, expression):
        """Samples of an expression: (labels, value)."""
        found = self.get("prometheus", f"/api/v1/query?query={quote(expression)}")
        return [(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    def looks(self, job, node):
        """What came of each look that Prometheus takes at a node from outside: 1 or 0 by instance, None while none was taken.

        Of its present targets only: for five minutes more it answers for those that it had before its settings changed.
        A target's first look is waited for, 90 s at most.
        """
        active = self.get("prometheus", f"/api/v1/targets?state=active&scrapePool={job}")["data"]["activeTargets"]
        targets = [target["labels"] for target in active if target["labels"].get("node") == node]
        found = {}
        for trial in trials(FIRST_LOOKS):
            told = self.query(f'probe_success{{job="{job}", node="{node}"}} < {trial + 2}')
            found = {
                target["instance"]: next((value for labels, value in told if target.items() <= labels.items()), None)
                for target in targets
            }
            if None not in found.values():
                break
        return found

    def rules(self):
        """Alarm rules that Prometheus has loaded, by name, each with its expression, health and labels.

        Just after its start it has evaluated none yet, and calls their health unknown; that is waited for, 90 s at most.
        """
        found = {}
        for trial in trials(FIRST_LOOKS):
            path = "/api/v1/rules?type=alert" + (f"&trial={trial}" if trial else "")
            groups = self.get("prometheus", path)["data"]["groups"]
            found = {rule["name"]: rule for group in groups for rule in group["rules"]}
            if all(rule["health"] != "unknown" for rule in found.values()):
                break
        return found

    def delivered(self):
        """Most notifications that a receiver took between two starts of Alertmanager in the last hour, by way (email, webhook).

        Its counters begin anew with it, and what it sent before it does not send again at once.
        """
        took = "sum by (integration) (alertmanager_notifications_{}total)"
        expression = f"max_over_time(({took.format('')} - {took.format('failed_')})[1h:15s])"
        return {labels["integration"]: int(number) for labels, number in self.query(expression)}

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
