# SPDX-License-Identifier: Apache-2.0
"""Central monitoring: every host is asked, tells nobody else, and whatever is wrong with it is an alarm that somebody gets."""

import re
import time

import pytest
from asking import ask, not_loaded
from monitor_api import OWN, Monitor

from jinku.evidence.sabotage import Sabotage
from jinku.model.alarms import alerts_of
from jinku.model.topology import SERVICES

LATEST_S = 900  # what is wrong for a quarter of an hour, and nobody knows, is not watched
FRESH_S = 120  # "in minutes" (GB/T 28448 L3-SMC1-09): what is older says nothing of now
#: What must be an alarm at every host, whatever its tiers.
OF_EVERY_HOST = ("HostDown", "DiskForecast", "DiskNearlyFull", "ServiceFailed", "CertificateNearExpiry", "HostChanged")
OF_TIERS = {
    "edge": ("CrmUnreachable",),
    "vault": ("VaultSealed", "VaultSilent"),
    "monitor": ("MonitorBroken", "Watchdog"),
    "postgres": ("ReplicationLag", "ReplicationSilent"),
    "backup": ("BackupMissed", "BackupSilent"),
}
#: What the monitor asks of a tier from outside, as its users do: the job of Prometheus.
PROBES = {"edge": "edge", "vault": "vault"}
#: What a program reads, and only when it is told to.
LOADED = {
    "prometheus": "/etc/prometheus/prometheus.yml /etc/prometheus/rules",
    "alertmanager": "/etc/prometheus/alertmanager.yml",
}
RELOAD = "sh /usr/local/libexec/jinku-monitor reload"
#: Five states of each service; the smallest host has more than ten.
UNIT_STATES = 50
KINDS = {"full", "incremental", "wal", "attachments", "vault"}


def _kinds(samples):
    return {labels["kind"] for labels, _ in samples}


@pytest.fixture
def monitor(fleet, topology, subject):
    """The environment's monitor; without one a test cannot pass."""
    assert topology.nodes_of("monitor"), "nothing monitors this environment"
    return Monitor(fleet, topology, subject)


@pytest.mark.control("dengbao:8.1.5.4.c", "dengbao:8.1.4.4.f", "iso27001:A.8.16")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_monitor_asks_the_host_and_knows_its_alarms(host, subject, monitor, topology):
    """The monitor asks this host, got an answer within two minutes, and has a sound rule for each alarm that its tiers need.

    zh: 监控以该主机为采集目标，两分钟内有应答，且该主机各层所需的告警规则均已加载并正常。
    """
    host.check_output("systemctl is-active prometheus-node-exporter.service")
    answers = monitor.looks("node", subject.node, 'up{job="node"}')
    assert len(answers) == 1, f"the monitor does not ask {subject.node}"
    assert list(answers.values()) == [1], f"{subject.node} does not answer the monitor"
    (age,) = monitor.looks("node", subject.node, 'time() - timestamp(up{job="node"})').values()
    assert age < FRESH_S, f"the last look is {age} s old"
    expiry = monitor.looks("certificate", subject.node, 'probe_ssl_earliest_cert_expiry{job="certificate"}')
    assert expiry, "nobody looks at its certificate"
    assert all(expiry.values()), f"the monitor cannot tell when its certificate ends: {expiry}"
    tiers = topology.node(subject.node).tiers
    if "postgres" in tiers:
        look = f'jinku_replication_standby{{node="{subject.node}"}} == 0 or jinku_replication_lag_seconds{{node="{subject.node}"}}'
        assert monitor.appeared(look), f"{subject.node} does not say how far its database is behind"
    # A probe that cannot work (no right to its CA's file, say) is itself a constant alarm, which hides the real one.
    for job in (job for tier, job in PROBES.items() if tier in tiers):
        reached = monitor.looks(job, subject.node, f'probe_success{{job="{job}"}}')
        assert list(reached.values()) == [1], f"the monitor's look from outside ({job}) fails: {reached}"
    if "backup" in tiers:
        look = f'jinku_backup_last_success_timestamp_seconds{{node="{subject.node}"}}'
        told = monitor.appeared(look, enough=lambda samples: _kinds(samples) >= KINDS)
        kinds = _kinds(told)
        assert all(when <= time.time() + 60 for _, when in told), (
            f"{subject.node} tells of copies of the future: {told}"
        )
        assert kinds >= KINDS, f"{subject.node} tells of {sorted(kinds)} only"
    rules = monitor.rules()
    for name in (*OF_EVERY_HOST, *(alarm for tier in tiers for alarm in OF_TIERS.get(tier, ()))):
        assert name in rules, f"no rule {name}"
        assert rules[name]["health"] == "ok", f"{name}: {rules[name].get('lastError')}"


@pytest.mark.control("dengbao:8.1.5.4.c", "iso27001:A.8.16")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_the_host_tells_the_monitor_and_nobody_else(host, subject, monitor, topology):
    """Asked with the monitor's certificate the host tells its own state; without one, or with another host's, it refuses.

    zh: 以监控证书访问时主机返回自身状态；无证书或使用其他主机证书时拒绝。
    """
    node = topology.node(subject.node)
    at = (str(node.address), str(SERVICES["node_metrics"].port), node.fqdn, "/metrics")
    told = ask(monitor.host, "mtls_get.py", *at, *OWN)
    assert told.startswith("status 200"), told[:200]
    uptime = float(host.check_output("cat /proc/stat | awk '/^btime/ {print $2}'"))
    names = re.findall(r'node_uname_info\{[^}]*nodename="([^"]+)"', told)
    assert names == [host.check_output("uname -n")], f"it says that it is {names}"
    clock = re.search(r"^node_time_seconds ([0-9.e+]+)$", told, re.MULTILINE)
    assert clock, "it tells no time"
    assert float(clock[1]) >= uptime, "its time is not its own"
    # What a program of the host says and its exporter cannot read would be an alarm that never comes.
    unread = re.search(r"^node_textfile_scrape_error 0$", told, re.MULTILINE) is None
    assert not unread, "its exporter cannot read what a program of the host has to say"
    if subject.site in topology.ups:
        assert re.search(r"^jinku_ups_heard 1$", told, re.MULTILINE), "it does not say that it hears its UPS"
    # The file of the UPS is written by an account that is not root: it has this to say, and stands before nothing else.
    of_the_ups = re.findall(r"^jinku_ups_.*", told, re.MULTILINE)
    assert len(of_the_ups) == int(subject.site in topology.ups), f"of the UPS it tells {of_the_ups}"
    units = len(re.findall(r"^node_systemd_unit_state\{", told, re.MULTILINE))
    assert units >= UNIT_STATES, f"it tells {units} states of services only"
    # From the host itself: no packet filter stands between, so only the certificate can be the reason.
    assert ask(host, "mtls_get.py", *at, "none", "none").startswith("refused"), "it tells whoever shows no certificate"
    if "monitor" not in node.tiers:
        assert ask(host, "mtls_get.py", *at, *OWN).startswith("refused"), "it tells a host that is not the monitor"


@pytest.mark.control("dengbao:8.1.5.4.c", "iso27001:A.8.16")
@pytest.mark.objects("monitor")
@pytest.mark.setting
def test_every_alarm_has_an_owner_and_a_way(monitor, topology):
    """Each rule fires within a quarter of an hour and names one of the three duties; Alertmanager's own routing leads it there, whatever its host.

    zh: 每条告警规则在一刻钟内触发并指明三员之一为负责人；告警路由能送达该职责的邮箱或 Webhook，且不因主机或时段而例外。
    """
    rules = monitor.rules()
    assert len(rules) > 20, f"only {len(rules)} rules are loaded"
    assert monitor.ways, "environment.yaml names no way for alarms"
    silent = monitor.without_a_way()
    for name, rule in rules.items():
        if name == "Watchdog":
            continue
        duty = rule["labels"].get("duty")
        assert duty in ("system", "audit", "security"), f"{name}: no owner"
        assert monitor.receivers(alertname=name, duty=duty) == {duty}, f"{name}: does not reach {duty}"
        # A receiver that has only its name is nobody: environment.yaml may give mailboxes to some duties only.
        assert duty not in silent, f"{name}: nothing leads to {duty}, neither mail nor webhook (alerts)"
        assert rule["duration"] <= LATEST_S, f"{name}: only after {rule['duration']} s"
        assert {"zh", "en", "runbook"} <= set(rule["annotations"]), f"{name}: lacks words or a runbook"
    out = monitor.left_out()
    assert not out, f"kept from their owners: {'; '.join(out)}"
    mail = alerts_of(topology.env).mail
    wanted = {duty: set(to) for duty, to in mail.to.items()} if mail else {}
    assert monitor.written_to() == wanted, f"mail goes to {monitor.written_to()}"


@pytest.mark.control("dengbao:8.1.5.4.c", "iso27001:A.8.16")
@pytest.mark.objects("monitor")
@pytest.mark.behaviour
def test_alarms_fire_and_go_out(monitor):
    """Fed with faults the installed rules, which are those that run, fire, and stay silent without; what is always firing went out.

    zh: 以故障数据驱动已安装且正在运行的规则均触发、正常数据不触发；无静默；常发心跳经各通道送达且无失败。
    """
    assert not monitor.silences(), f"kept silent: {monitor.silences()}"
    for program, files in LOADED.items():
        wrong = not_loaded(monitor.host, program, files, monitor.loaded_at(program), RELOAD)
        assert not wrong, wrong
    for name in ("hosts", "services", "room"):
        said = monitor.rule_tests(name)
        assert not said, f"{name}: {said}"
    heartbeat = monitor.query('ALERTS{alertname="Watchdog", alertstate="firing"}')
    assert heartbeat, "the heartbeat does not fire"
    delivered = monitor.delivered()
    for way in monitor.ways:
        assert delivered.get(way, 0) > 0, f"nothing ever went out by {way}"
    failing = monitor.query("sum by (integration) (increase(alertmanager_notifications_failed_total[10m])) > 0")
    assert not failing, f"notifications fail: {failing}"
    # What the manuals tell people to do when one came.
    shown = monitor.host.run("amtool alert query")
    assert shown.rc == 0, f"`sudo amtool alert` shows nobody the alarms: {(shown.stderr or shown.stdout)[-300:]}"


SABOTAGE = (
    # The file is as it was, but not what runs.
    Sabotage(
        "the monitor runs with an alarm that never fires, and its file looks right",
        on="monitor",
        breaks='cd /etc/prometheus/rules && cp -a hosts.yml /run/sabotage.rules && sed -i \'s/up{job="node"} == 0/up{job="node"} == 7/\' hosts.yml'
        " && systemctl reload prometheus && sleep 2 && cp -a /run/sabotage.rules hosts.yml",
        mends="rm /run/sabotage.rules && systemctl reload prometheus",
        kills=("test_alarms_fire_and_go_out",),
        settle=2.0,
    ),
    Sabotage(
        "the host's exporter is off",
        on="host",
        breaks="systemctl stop prometheus-node-exporter",
        mends="systemctl start prometheus-node-exporter",
        kills=("test_the_monitor_asks_the_host_and_knows_its_alarms",),
        settle=18.0,
        nightly=True,
    ),
    Sabotage(
        "the standby does not say how far it is behind",
        on="host",
        victim="db2",
        breaks="systemctl stop jinku-postgres-lag",
        mends="systemctl start jinku-postgres-lag",
        kills=("test_the_monitor_asks_the_host_and_knows_its_alarms",),
        settle=18.0,
        nightly=True,
    ),
    Sabotage(
        "the exporter cannot read what another program says of the UPS",
        on="host",
        victim="db1",
        breaks="chmod 0600 /run/jinku-power/heard/ups.prom",
        mends="chmod 0644 /run/jinku-power/heard/ups.prom",
        kills=("test_the_host_tells_the_monitor_and_nobody_else",),
    ),
    Sabotage(
        "what is said of the UPS says more",
        on="host",
        victim="db1",
        breaks="cp -a /run/jinku-power/heard/ups.prom /run/sabotage.prom && echo 'jinku_ups_sabotage 1' >> /run/jinku-power/heard/ups.prom",
        mends="cp -a /run/sabotage.prom /run/jinku-power/heard/ups.prom && rm /run/sabotage.prom",
        kills=("test_the_host_tells_the_monitor_and_nobody_else",),
    ),
    Sabotage(
        "the host tells everybody",
        on="host",
        breaks="sed -i.sabotage '/client_/d' /etc/prometheus/web.yml",
        mends="mv /etc/prometheus/web.yml.sabotage /etc/prometheus/web.yml",
        kills=("test_the_host_tells_the_monitor_and_nobody_else",),
        settle=1.0,
    ),
    Sabotage(
        "an alarm has no owner, and one never fires",
        on="monitor",
        breaks='sed -i.sabotage \'0,/duty: system, severity: critical/s//severity: critical/; s/up{job="node"} == 0/up{job="node"} == 7/\''
        " /etc/prometheus/rules/hosts.yml && systemctl reload prometheus",
        mends="mv /etc/prometheus/rules/hosts.yml.sabotage /etc/prometheus/rules/hosts.yml && systemctl reload prometheus",
        kills=("test_every_alarm_has_an_owner_and_a_way", "test_alarms_fire_and_go_out"),
        settle=3.0,
    ),
    *(
        Sabotage(
            name,
            on="monitor",
            breaks=f"cp -a /etc/prometheus/{file} /run/sabotage.monitor && sed -i '{change}' /etc/prometheus/{file}"
            f" && systemctl reload {unit}",
            mends=f"cat /run/sabotage.monitor > /etc/prometheus/{file} && rm /run/sabotage.monitor && sleep 1 && systemctl reload {unit}",
            kills=("test_every_alarm_has_an_owner_and_a_way",),
            settle=3.0,
        )
        for name, file, change, unit in (
            (
                "an alarm of a host goes to nobody",
                "alertmanager.yml",
                's/^  routes:$/&\\n    - receiver: nobody\\n      matchers: [node = "sabotage"]/',
                "prometheus-alertmanager",
            ),
            (
                "an alarm goes to somebody else",
                "alertmanager.yml",
                "s/^      - to: .*/      - to: sabotage@example.com/",
                "prometheus-alertmanager",
            ),
            (
                "an alarm comes after ten hours only",
                "rules/hosts.yml",
                "0,/^        for: 30s$/s//        for: 10h/",
                "prometheus",
            ),
            (
                "alarms of a host are dropped before they leave",
                "prometheus.yml",
                "s/^alerting:$/&\\n  alert_relabel_configs: [{source_labels: [node], regex: sabotage, action: drop}]/",
                "prometheus",
            ),
        )
    ),
)
