# SPDX-License-Identifier: Apache-2.0
"""What happens is recorded, leaves the host, and is kept: journal, forwarding, log tier."""

import re
import secrets

import pytest
from asking import as_user, people_on, sshd_setting, tcp_probe
from test_database import arrived

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

TOKEN = secrets.token_hex(6)
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def refused_deed(topology):
    """A deed that its doer may not do, and a mark to find it by; sudo refuses and records it."""
    someone = next(
        operator.name
        for operator in topology.env.operators
        if operator.duty != "system" and operator.state == "present"
    )
    return someone, f"runuser -u {someone} -- sudo /usr/bin/id -u {TOKEN} </dev/null; true"


def prefetch(subject, topology):
    """Done at the start of the session, so that the lines have arrived when they are looked for."""
    return (
        [refused_deed(topology)[1], f"logger -t jinku-check -p auth.notice seen-{TOKEN}"]
        if subject.object_class == "host"
        else []
    )


@pytest.mark.control("dengbao:8.1.4.3.a", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_audit_covers_every_user(host, topology):
    """Sshd records each login with the key that was used, sudo each command, and the journal outlives a restart.

    zh: sshd 记录每次登录所用密钥，sudo 记录每条命令，日志持久保存。
    """
    for user in ("", "root", "automation", *(operator.name for operator in topology.env.operators)):
        assert sshd_setting(host, user)["loglevel"] in ("VERBOSE", "DEBUG"), (
            f"sshd does not record the key of {user or 'everybody'}"
        )
    allowed = host.check_output("sudo -l -U automation")
    assert "!syslog" not in allowed, "sudo does not record"
    current = host.check_output("journalctl --header | awk '/^File path/ {print $3}'").splitlines()
    assert any(path.startswith("/var/log/journal/") for path in current), "the journal is kept in memory only"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.b", "dengbao:8.1.5.4.d", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_a_forbidden_deed_is_found_at_the_log_tier(host, subject, topology, fleet):
    """An operator tries what they may not do; the log tier holds when, where, who, what, and that it was refused.

    zh: 运维人员执行越权命令；日志层可查到时间、主机、用户、命令及被拒结果。
    """
    who, deed = refused_deed(topology)
    host.run(deed)
    host.run(f"logger -t jinku-check -p auth.notice seen-{TOKEN}")
    line = arrived(fleet, topology, subject.node, f"COMMAND=/usr/bin/id -u {TOKEN}")
    assert line, "the refused command is not on record at the log tier"
    assert re.match(RFC3339, line), "the record has no time with zone"
    assert subject.node in line.split()[1], "the record does not name the host that it came from"
    assert re.search(rf"sudo(\[\d+\])?:?\s+{who} ", line), "the record does not name the user"
    assert re.search("not allowed|password is required", line), "the record does not say that it was refused"
    assert arrived(fleet, topology, subject.node, f"seen-{TOKEN}"), (
        "a line written on the host is not found at the log tier"
    )


@pytest.mark.control(
    "dengbao:8.1.4.3.b",
    "dengbao:8.1.5.4.d",
    "dengbao:8.1.4.3.c",
    "dengbao:8.1.3.5.c",
    "dengbao:8.1.4.3.d",
    "iso27001:A.8.15",
)
@pytest.mark.objects("host")
@pytest.mark.setting
def test_records_leave_the_host_as_they_are_made(host, topology):
    """The forwarder runs, is connected to the log tier, and its records carry time with zone, host and user.

    zh: 日志转发进程在运行并已连接日志层，记录含带时区的时间、主机与用户。
    """
    logs = topology.nodes_of("log")
    if not logs:
        pytest.skip("this environment has no log tier")
    assert host.service("rsyslog").is_running, "the forwarder does not run"
    peers = {str(address) for node in logs for address in node.addresses}
    open_ones = host.check_output(f"ss -Htnp state established dport = :{SERVICES['log'].port}")
    assert "rsyslogd" in open_ones, "the forwarder is not connected"
    assert any(peer in open_ones for peer in peers), "the forwarder is not connected to the log tier"
    record = host.check_output("journalctl -q -n 1 -o json --no-pager --output-fields=_HOSTNAME,_UID,MESSAGE,PRIORITY")
    for field in ("__REALTIME_TIMESTAMP", "_HOSTNAME", "MESSAGE"):
        assert field in record, f"records lack {field}"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.3.5.c", "iso27001:A.5.33")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_records_cannot_be_changed_by_those_they_speak_of(host, topology, subject, fleet):
    """No operator without the system duty can write to the journal, and the copy at the log tier is out of the host's reach.

    zh: 非系统管理员不能改写本机日志；主机（即使 root）不能触及日志层中的副本。
    """
    for operator in people_on(topology, subject.node):
        if operator.duty != "system":
            files = "$(find /var/log/journal -type f) /var/log/journal"
            tried = host.run(
                f"{as_user(operator.name)} sh -c 'for one; do test -w $one && echo $one; done; true' sh {files}"
            )
            assert tried.stdout == "", f"{operator.name} may change {tried.stdout.split()[0]}"
    for log in topology.nodes_of("log"):
        may_ssh = any(
            pair.source == subject.node and pair.destination == log.name and pair.id.endswith(">ssh")
            for pair in topology.allowed()
        )
        if log.name != subject.node:
            mine = fleet.host(log.name).check_output(f"stat -c '%U %a' /var/log/remote/{subject.node}")
            owner, mode = mine.split()
            assert (owner, mode[-1]) == ("root", "0"), f"the copy's folder is {mine}"
            way_in = tcp_probe(host, [(str(log.address), SERVICES["ssh"].port)])
            assert may_ssh or "open" not in way_in.values(), "the host reaches the log tier's sshd"


SABOTAGE = (
    Sabotage(
        "the forwarder is stopped",
        on="host",
        # Masked, for its socket would start it again.
        breaks="systemctl mask --runtime --quiet rsyslog.service && systemctl stop rsyslog.service",
        mends="systemctl unmask --runtime --quiet rsyslog.service && systemctl start rsyslog.service",
        kills=("test_records_leave_the_host_as_they_are_made", "test_a_forbidden_deed_is_found_at_the_log_tier"),
        settle=1.5,
        nightly=True,
    ),
    Sabotage(
        "sudo and sshd no longer record",
        on="host",
        breaks="echo 'Defaults !syslog' > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage &&"
        " echo 'LogLevel QUIET' > /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        mends="rm /etc/sudoers.d/zz-sabotage /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        kills=("test_audit_covers_every_user", "test_a_forbidden_deed_is_found_at_the_log_tier"),
    ),
    Sabotage(
        "the auditors may write to the journal",
        on="host",
        breaks="setfacl -R -m g:jinku-audit:rwX /var/log/journal",
        mends="setfacl -R -x g:jinku-audit /var/log/journal",
        kills=("test_records_cannot_be_changed_by_those_they_speak_of",),
    ),
)
