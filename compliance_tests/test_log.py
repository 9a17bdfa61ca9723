# SPDX-License-Identifier: Apache-2.0
"""The log tier: every host's lines arrive, from known hosts only, are kept long enough, and are read by the audit duty only."""

import re
import secrets

import pytest
from asking import as_user, ask

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

KEPT_DAYS = 180  # Cybersecurity Law art. 23 (before 2026: 21) and GB/T 28448 L3-SMC1-10: six months
PATIENCE_S = 60
FOLDER = "/var/log/remote"


def arrives(host, node: str, mark: str, seconds: int = PATIENCE_S) -> bool:
    """Whether a line with the mark turns up in the node's own folder."""
    command = f"for i in $(seq {seconds}); do grep -rqF {mark} {FOLDER}/{node}/ && exit 0; sleep 1; done; exit 1"
    return bool(host.run(command, timeout=seconds + 10).rc == 0)


@pytest.mark.control("dengbao:8.1.5.4.d", "dengbao:8.1.4.3.c", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.setting
def test_received_lines_are_kept_for_six_months(host):
    """What deletes received lines runs daily and spares everything younger than 180 days; nothing else rotates them.

    zh: 日志清理任务仅删除超过 180 天的记录，且无其他轮转规则。
    """
    command = host.check_output("systemctl show jinku-log-retention.service --property=ExecStart --value")
    days = re.search(rf"jinku-log-retention {FOLDER} (\d+) ", command)
    assert days, f"no retention is set: {command}"
    assert int(days[1]) >= KEPT_DAYS, f"kept for {days[1]} days only"
    assert host.check_output("systemctl is-active jinku-log-retention.timer") == "active"
    rotated = host.run(
        f"grep -rlF {FOLDER} /etc/logrotate.d /etc/logrotate.conf /etc/cron* /etc/tmpfiles.d 2>/dev/null"
    ).stdout.split()
    assert not rotated, f"also rotated by {', '.join(rotated)}"
    assert set(host.check_output(f"findmnt -n -o TARGET --target {FOLDER}").split()) == {FOLDER}, (
        "the lines do not lie on a volume of their own"
    )


@pytest.mark.control("dengbao:8.1.5.4.d", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_the_cleaner_spares_what_is_younger(host):
    """Run on a folder of its own, the same program deletes a file of 181 days and spares one of 179.

    zh: 清理程序删除 181 天前的文件，保留 179 天的文件。
    """
    made = host.check_output(
        'folder=$(mktemp -d) && mkdir $folder/node && for days in 181 179 1; do day=$(date -d "$days days ago" +%F)'
        ' && echo line > $folder/node/$day.log && touch -d "$days days ago 00:00" $folder/node/$day.log; done; touch -d'
        " '200 days ago' $folder/node/$(date -d '1 day ago' +%F).log"
        f" && jinku-log-retention $folder {KEPT_DAYS} 2 0 && ls $folder/node && rm -r $folder"
    )
    days = sorted(name[:10] for name in made.split())
    wanted = sorted(host.check_output("date -d '179 days ago' +%F; date -d '1 day ago' +%F").split())
    assert days == wanted, f"left of 181, 179 and 1 days: {days}"


@pytest.mark.control("dengbao:8.1.5.4.d", "dengbao:8.1.4.3.a", "dengbao:8.1.3.5.a", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_a_line_of_every_host_arrives(host, fleet, topology):
    """A line written on any host, in Chinese too, is found in that host's folder within a minute.

    zh: 任一主机产生的日志（含中文）一分钟内到达日志服务器对应目录。
    """
    marks = {node.name: secrets.token_hex(8) for node in topology.nodes}
    for name, mark in marks.items():
        fleet.host(name).run_test(f"logger -t jinku-check '审计 {mark}'")
    missing = [name for name, mark in marks.items() if not arrives(host, name, f"审计\\ {mark}")]
    assert not missing, f"nothing arrives from {', '.join(missing)}"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.2.2.b", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_only_known_hosts_may_send_and_only_as_themselves(host, fleet, topology, subject):
    """Without a certificate, or with one of its own making, nobody hands in a line; with a host's own, it lands in that host's folder.

    zh: 无证书或自签证书不能提交日志；主机不能冒用其他主机名写入其目录。
    """
    sender = next(node for node in topology.nodes if node.name != subject.node and "edge" in node.tiers)
    other = next(node for node in topology.nodes if node.name not in (subject.node, sender.name))
    at = (str(topology.node(subject.node).address), str(SERVICES["log"].port))
    mark = secrets.token_hex(8)
    line = f"<13>1 2026-01-01T00:00:00Z {other.name} forged - - - {mark}"
    theirs = fleet.host(sender.name)
    taken = ask(theirs, "relp_try.py", *at, "/etc/jinku/tls/host.pem", "/etc/jinku/tls/host.key", line)
    assert taken.strip() == "taken", f"a known host is refused, so the rest would prove nothing: {taken}"
    assert arrives(host, sender.name, mark), f"the line of {sender.name} is not in its folder"
    assert host.run(f"grep -rlF {mark} {FOLDER}/{other.name}/").stdout == "", (
        f"{sender.name} wrote in the folder of {other.name}"
    )
    for certificate in ("none", "own"):
        said = ask(theirs, "relp_try.py", *at, certificate, certificate, line)
        assert said.startswith("refused"), f"taken with certificate: {certificate}"


@pytest.mark.control("dengbao:8.1.4.3.a", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.setting
def test_the_receiver_expects_every_host_and_nobody_else(host, topology):
    """The receiver runs, and the names that it takes lines from are the environment's hosts: each of them, and no other.

    zh: 日志接收程序在运行，其接受的主机名称与本环境全部主机一致。
    """
    port = SERVICES["log"].port
    assert "rsyslogd" in host.check_output(f"ss -Hltnp sport = :{port}"), "nothing receives"
    inputs = host.check_output("cat /etc/rsyslog.conf /etc/rsyslog.d/*.conf").split('input(type="imrelp"')[1:]
    assert len(inputs) == 1, f"{len(inputs)} ways in"
    taken = set(re.findall(r'"([^"]+)"', inputs[0].partition("tls.permittedPeer=[")[2].partition("]")[0]))
    assert 'tls.authMode="name"' in inputs[0], "senders are not known by name"
    assert taken == {node.fqdn for node in topology.nodes}, f"lines are taken from {sorted(taken)}"


@pytest.mark.control("dengbao:8.1.4.3.c", "iso27001:A.8.15")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_only_the_audit_duty_reads_the_lines(host, topology):
    """The audit administrator reads the received lines and cannot change them; the other duties cannot even read.

    zh: 仅审计管理员可读取日志且不能修改，其他管理员无法读取。
    """
    for operator in topology.env.operators:
        if operator.state != "present":
            continue
        if operator.duty == "system":
            assert host.run("getent passwd %s", operator.name).rc == 2, (
                f"{operator.name} has an account at the log tier"
            )
            continue
        reads = host.run(f"{as_user(operator.name)} find {FOLDER} -name '*.log' -readable -print -quit")
        writes = host.run(f"{as_user(operator.name)} find {FOLDER} -writable -print -quit")
        assert bool(reads.stdout.strip()) == (operator.duty == "audit"), (
            f"{operator.name} ({operator.duty}): reads {reads.stdout!r}"
        )
        assert not writes.stdout.strip(), f"{operator.name} may write {writes.stdout}"


SABOTAGE = (
    Sabotage(
        "lines are kept for 90 days",
        on="log",
        breaks="sed -i.sabotage 's# /var/log/remote [0-9]* # /var/log/remote 90 #' /etc/systemd/system/jinku-log-retention.service"
        " && systemctl daemon-reload",
        mends="mv /etc/systemd/system/jinku-log-retention.service.sabotage /etc/systemd/system/jinku-log-retention.service"
        " && systemctl daemon-reload",
        kills=("test_received_lines_are_kept_for_six_months",),
    ),
    Sabotage(
        "the cleaner forgets the days",
        on="log",
        breaks="sed -i.sabotage 's/^folder=$1 days=$2/folder=$1 days=30/' /usr/local/sbin/jinku-log-retention",
        mends="mv /usr/local/sbin/jinku-log-retention.sabotage /usr/local/sbin/jinku-log-retention",
        kills=("test_the_cleaner_spares_what_is_younger",),
    ),
    Sabotage(
        "the receiver takes lines from anybody, and files them by the name they claim",
        on="log",
        breaks='sed -i.sabotage \'s/tls.authMode="name".*/tls.authMode="certvalid" tls.permittedPeer=["*"])/;'
        " s/set $.node = .*/set $.node = $hostname;/; s/ tls.caCert=[^ ]*//' /etc/rsyslog.d/80-jinku-receiver.conf"
        " && systemctl restart rsyslog",
        mends="mv /etc/rsyslog.d/80-jinku-receiver.conf.sabotage /etc/rsyslog.d/80-jinku-receiver.conf && systemctl restart rsyslog",
        kills=(
            "test_only_known_hosts_may_send_and_only_as_themselves",
            "test_the_receiver_expects_every_host_and_nobody_else",
        ),
    ),
    Sabotage(
        "everybody reads the lines",
        on="log",
        breaks=f"chmod -R o+rX {FOLDER}",
        mends=f"chmod -R o-rwx {FOLDER}",
        kills=("test_only_the_audit_duty_reads_the_lines",),
    ),
    Sabotage(
        "a host stopped forwarding",
        on="log",
        where="edge",
        breaks="systemctl stop rsyslog.service syslog.socket",
        mends="systemctl start rsyslog.service",
        kills=("test_a_line_of_every_host_arrives",),
        nightly=True,
    ),
)
