# SPDX-License-Identifier: Apache-2.0
"""Named people at work: certificates of hours, the three duties (三员) really tried, sessions recorded at the log tier."""

import re
import subprocess
import time

import pytest
from asking import KEEP_ACCOUNTS, PUT_ACCOUNTS_BACK, people_on, sshd_setting
from people_sessions import MARK, answers, tried

from jinku.evidence.sabotage import Sabotage
from jinku.model.people import accounts_on
from jinku.model.topology import SERVICES

FOLDER = "/var/log/remote"
RECORDINGS = f"{FOLDER}/sessions"
CLOSED_AFTER_S = 10  # what is younger may not have been looked at yet


def of_duty(topology, duty):
    return [one.name for one in topology.env.operators if one.duty == duty and one.state == "present"]


def said_as(people, observe, name, node):
    """What the probe said in a session of that person's, who has one there."""
    session = tried(people, observe, name, node)
    assert session.code == 0, f"{name} has no session: {session.err.strip()[-300:]}"
    said = answers(session)
    assert said["me"] == name, f"{name} is {said['me']}"
    return said


@pytest.mark.control(
    "dengbao:8.1.5.1.a",
    "dengbao:8.1.5.2.a",
    "dengbao:8.1.5.3.a",
    "dengbao:8.1.10.6.e",
    "iso27001:A.8.2",
    "iso27001:A.8.5",
)
@pytest.mark.objects("host")
@pytest.mark.setting
def test_each_duty_has_one_recorded_way_in(host, topology, subject):
    """Each person is known by a certificate's principal only, from the bastion only, and sshd starts the recorder for them.

    zh: 每名管理员仅凭密钥库签发的短期证书、仅经堡垒机登录，会话由录像程序启动；本机静态公钥不能打开会话。
    """
    assert sshd_setting(host)["trustedusercakeys"] == "/etc/ssh/jinku_user_ca.pub"
    bastion = "bastion" in subject.tiers
    bastions = {str(address) for node in topology.nodes_of("bastion") for address in node.addresses}
    for one in people_on(topology, subject.node):
        line = host.check_output("cat /etc/ssh/principals.d/%s", one.name)
        options = line.rpartition(" ")[0].split(",")
        assert options[0] == "restrict", f"{one.name} may do more than have a session: {line}"
        assert 'command="/usr/local/libexec/jinku-session"' in options, (
            f"sessions of {one.name} are not recorded: {line}"
        )
        sources = re.search(r'from="([^"]+)"', line)
        assert bastion or (sources and set(sources[1].split(",")) <= bastions), (
            f"{one.name} need not come by the bastion: {line}"
        )
        keys = host.run("cat /etc/ssh/authorized_keys.d/%s", one.name).stdout.splitlines()
        standing = [key for key in keys if 'command="/usr/bin/false"' not in key]
        assert not standing, f"a standing key opens sessions for {one.name}"
        shell = host.check_output("getent passwd %s", one.name).rpartition(":")[2]
        assert shell == "/bin/sh", f"{shell} would read a file of {one.name}'s own before the recorder starts"
    own = host.run("systemctl is-enabled user@.service").stdout.strip()
    assert own == "masked", f"units of people's own may run before, beside and after their sessions: user@ is {own}"
    told = host.check_output("cat /etc/sudoers.d/jinku")
    wanted = f":{SERVICES['sessions'].port}(tls)"
    recorder = " ".join(
        line for line in told.splitlines() if line.startswith("Defaults!/usr/local/libexec/jinku-shell")
    )
    assert "log_output" in recorder, "what sessions print is not recorded"
    assert wanted in recorder, "recordings do not go to the log tier"
    assert "!log_input" in recorder, "what is typed, passwords too, would be recorded"
    assert "!ignore_iolog_errors" in recorder, "a session without a recording is possible"
    others = host.run(
        "grep -rl 'ignore_iolog_errors\\|ignore_logfile_errors\\|log_servers\\|!log_output' /etc/sudoers /etc/sudoers.d"
    ).stdout.split()
    assert others == ["/etc/sudoers.d/jinku"], f"recording is set elsewhere, too: {', '.join(others)}"


@pytest.mark.control("dengbao:8.1.5.1.a", "dengbao:8.1.5.1.b", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_system_administrators_run_hosts_but_not_the_log_tier(people, observe, topology, subject):
    """As each system administrator: in by certificate and root by sudo; on the audit zone's hosts refused altogether.

    zh: 系统管理员持证书登录并可经 sudo 管理主机；在审计区主机上被拒绝登录。
    """
    for name in of_duty(topology, "system"):
        if subject.zone == "audit":
            session = tried(people, observe, name, subject.node)
            assert session.code == 255, f"{name} has a session on a host of the audit zone"
            assert "Permission denied" in session.err, f"not refused at authentication: {session.err.strip()[-200:]}"
            continue
        said = said_as(people, observe, name, subject.node)
        assert said["root"] == "0", f"{name} cannot run the host"


@pytest.mark.control(
    "dengbao:8.1.5.2.a", "dengbao:8.1.5.1.b", "dengbao:8.1.5.2.b", "dengbao:8.1.4.3.d", "iso27001:A.8.2"
)
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_audit_administrators_read_and_change_nothing(people, observe, topology, subject):
    """As each audit administrator: in by certificate, the journal is read; no root, no service stopped, no file changed.

    zh: 审计管理员持证书登录后可读日志；不能取得 root、停服务或修改文件。
    """
    for name in of_duty(topology, "audit"):
        said = said_as(people, observe, name, subject.node)
        assert said["journal"] == "1", f"{name} does not read the journal"
        assert not said["root"] + said["shell"] + said["locks"] + said["stops"], f"{name} may change the host: {said}"
        assert not said["writes"], f"{name} may write {said['writes']}"


@pytest.mark.control("dengbao:8.1.5.3.a", "dengbao:8.1.5.1.b", "dengbao:8.1.4.3.d", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_security_administrators_lift_locks_and_neither_run_hosts_nor_read_logs(people, observe, topology, subject):
    """As each security administrator: in by certificate, a lock is lifted; no root, no journal, no file changed.

    zh: 安全管理员持证书登录后可解除账户锁定；不能取得 root、查看日志或修改文件。
    """
    for name in of_duty(topology, "security"):
        said = said_as(people, observe, name, subject.node)
        assert said["locks"] == "yes", f"{name} cannot lift a lock"
        assert said["journal"] == "0", f"{name} reads the journal"
        assert not said["root"] + said["shell"] + said["stops"], f"{name} may change the host: {said}"
        assert not said["writes"], f"{name} may write {said['writes']}"


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.5.1.a", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_a_key_alone_opens_no_session(people, observe, topology, subject):
    """With the person's own key and no certificate: refused inside; on the bastion nothing runs, it leads to the vault only.

    zh: 仅持本人密钥而无证书时，内部主机拒绝登录；堡垒机上不能执行任何命令，仅可通往密钥库。
    """
    person = accounts_on(topology.env, topology.node(subject.node))[0].name
    kit = people.kit(person)
    # The way over the bastion is gone with the certificate, and only the last step is tried without one.
    jump = f"ssh -F {people.over_the_bastion(kit)} -o BatchMode=yes -W [%h]:%p {topology.nodes_of('bastion')[0].name}"
    ways = () if "bastion" in subject.tiers else ("-o", f"ProxyCommand={jump}")
    bare = kit.folder / "config.bare"
    lines = kit.config.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if "CertificateFile" not in line and "ProxyJump" not in line]
    bare.write_text("\n".join(kept) + "\n", encoding="utf-8")
    began = time.time()
    words = ["ssh", "-F", str(bare), "-o", "BatchMode=yes", *ways, subject.node, "echo", "opened"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    observe("controller", " ".join(words), done.stdout + done.stderr, done.returncode, began=began)
    assert "opened" not in done.stdout, f"the key of {person} opens a session without a certificate"
    if "bastion" in subject.tiers:
        assert done.returncode == 1, f"not sshd's own refusal to run it: {done.returncode} {done.stderr.strip()[-200:]}"
    else:
        assert "Permission denied" in done.stderr, f"not refused at authentication: {done.stderr.strip()[-200:]}"


@pytest.mark.control(
    "dengbao:8.1.4.3.a",
    "dengbao:8.1.5.1.a",
    "dengbao:8.1.5.2.a",
    "dengbao:8.1.5.3.a",
    "dengbao:8.1.10.6.e",
    "iso27001:A.8.15",
)
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_sessions_are_recorded_at_the_log_tier(people, observe, topology, subject, fleet):
    """What a session on this host printed is found at the log tier, under the host and the person.

    zh: 在本主机上的会话输出可在日志层按主机与人员查到录像。
    """
    log = fleet.host(topology.nodes_of("log")[0].name)
    for one in people_on(topology, subject.node):
        assert tried(people, observe, one.name, subject.node).code == 0
        found = log.run(
            "for i in $(seq 10); do grep -rlaF mark-%s " + RECORDINGS + "/%s*/%s/ && exit 0; sleep 1; done; exit 1",
            MARK,
            subject.node,
            one.name,
        )
        hosts = {path.split("/")[5].split(".")[0] for path in found.stdout.split()}
        assert subject.node in hosts, (
            f"no recording of the session of {one.name} on {subject.node}; there are {sorted(hosts)}"
        )


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.5.2.b", "iso27001:A.8.15", "iso27001:A.5.33")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_the_audit_duty_reads_lines_and_recordings_and_nobody_changes_them(people, observe, topology, subject):
    """As the auditor at the log tier: lines and recordings are read and not changed or removed; as the others: not even read.

    zh: 审计管理员在日志层可查阅日志与录像但不能修改或删除；其他管理员无法读取。
    """
    command = (
        f"echo lines=$(find /var/log/remote -name '*.log' -readable -print -quit); echo recordings=$(find {RECORDINGS} -name stdout -readable -print -quit);"
        f" echo replays=$(sudoreplay -d {RECORDINGS} -l 2>/dev/null | head -n 1);"
        ' one=$(find /var/log/remote -name stdout -print -quit 2>/dev/null); echo removes=$(rm -f "${one:-/var/log/remote/none}" 2>/dev/null && [ -n "$one" ] && echo yes);'
        " echo writes=$(find /var/log/remote -writable -print -quit 2>/dev/null)"
    )
    for one in people_on(topology, subject.node):
        said = answers(tried(people, observe, one.name, subject.node, command))
        reads = one.duty == "audit"
        for what in ("lines", "recordings"):
            assert bool(said[what]) is reads, (
                f"{one.name} ({one.duty}) {'reads' if said[what] else 'does not read'} {what}"
            )
        assert not said["removes"] + said["writes"], f"{one.name} changes records: {said}"
    for name in of_duty(topology, "system"):
        assert tried(people, observe, name, subject.node).code == 255, f"{name} has a session at the log tier"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.5.2.b", "iso27001:A.5.33")
@pytest.mark.objects("log")
@pytest.mark.setting
def test_recordings_are_the_audit_duty_s(host):
    """The recorder takes them over mutual TLS only, and its files are root's, readable to the audit duty's group.

    zh: 录像接收程序仅接受双向 TLS；录像文件属 root，仅审计组可读。
    """
    assert host.check_output("systemctl is-active jinku-sessions.service") == "active"
    told = host.check_output("cat /etc/sudo_logsrvd.conf")
    for line in ("tls_checkpeer = true", "tls_verify = true", "log_passwords = false"):
        assert f"\n{line}\n" in told, f"the recorder is not set to {line}"
    odd = host.check_output(
        f"find {RECORDINGS} ! \\( -user root -group jinku-audit \\) -print -quit; find {RECORDINGS} -perm /027 -print -quit"
    )
    assert not odd, f"others come near {odd}"
    assert host.check_output("systemctl is-active jinku-recordings.service") == "active"
    late = host.check_output(
        f"find {RECORDINGS} -name timing -perm /222 ! -newermt '-{CLOSED_AFTER_S} seconds' -print -quit"
    )
    assert not late, f"a host may resume {late}, and so write over it"


def keeping(path, expression):
    """Shell: change a file by sed, the original put aside."""
    return f"cp -a {path} /run/sabotage.{path.rpartition('/')[2]} && sed -i {expression} {path}"


def putting_back(path):
    """Shell: the original again."""
    return f"cp -a /run/sabotage.{path.rpartition('/')[2]} {path} && rm /run/sabotage.{path.rpartition('/')[2]}"


SESSION, SUDOERS = "/usr/local/libexec/jinku-session", "/etc/sudoers.d/jinku"
BASTION_KEYS = "$(find /etc/ssh/authorized_keys.d -type f ! -name automation)"
SABOTAGE = (
    Sabotage(
        "sessions are no longer recorded",
        on="host",
        breaks=keeping(
            SESSION,
            "'s#^exec sudo .*#exec /bin/bash -l#; s#exec sudo .*ORIGINAL_COMMAND.*#exec /bin/bash -c \"$SSH_ORIGINAL_COMMAND\"#'",
        )
        + " && "
        + keeping(SUDOERS, "'s/!ignore_iolog_errors/ignore_iolog_errors/'"),
        mends=f"{putting_back(SESSION)} && {putting_back(SUDOERS)}",
        kills=("test_sessions_are_recorded_at_the_log_tier", "test_each_duty_has_one_recorded_way_in"),
    ),
    Sabotage(
        "auditors and security administrators are root",
        on="host",
        breaks="printf '%%jinku-audit ALL=(ALL) NOPASSWD: ALL\n%%jinku-security ALL=(ALL) NOPASSWD: ALL\n' > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage",
        mends="rm /etc/sudoers.d/zz-sabotage",
        kills=(
            "test_audit_administrators_read_and_change_nothing",
            "test_security_administrators_lift_locks_and_neither_run_hosts_nor_read_logs",
        ),
    ),
    Sabotage(
        "people's own files run before the recorder",
        on="host",
        victim="db1",
        breaks=f"{KEEP_ACCOUNTS} && for one in $(ls /etc/ssh/principals.d); do usermod -s /bin/bash $one; done",
        mends=PUT_ACCOUNTS_BACK,
        kills=("test_each_duty_has_one_recorded_way_in",),
    ),
    Sabotage(
        "people's certificates serve from anywhere, past the bastion",
        on="host",
        victim="db1",
        breaks="cp -a /etc/ssh/principals.d /run/sabotage.principals"
        ' && sed -i \'s/from="[^"]*"/from="*"/\' /etc/ssh/principals.d/*',
        mends="cp -a /run/sabotage.principals/. /etc/ssh/principals.d && rm -r /run/sabotage.principals",
        kills=("test_each_duty_has_one_recorded_way_in",),
    ),
    Sabotage(
        "one line more of sudo's takes the recording away",
        on="host",
        victim="db1",
        breaks="echo 'Defaults!/usr/local/libexec/jinku-shell !log_output' > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage",
        mends="rm /etc/sudoers.d/zz-sabotage",
        kills=("test_each_duty_has_one_recorded_way_in",),
    ),
    Sabotage(
        "hosts may write over recordings",
        on="log",
        breaks=f"systemctl stop jinku-recordings.service && find {RECORDINGS} -name timing -exec chmod u+w {{}} +",
        mends="systemctl start jinku-recordings.service",
        kills=("test_recordings_are_the_audit_duty_s",),
    ),
    Sabotage(
        "system administrators may run nothing",
        on="host",
        victim="db1",
        breaks=keeping(SUDOERS, "'/^%jinku-system/d'"),
        mends=putting_back(SUDOERS),
        kills=("test_system_administrators_run_hosts_but_not_the_log_tier",),
    ),
    Sabotage(
        "standing keys open sessions",
        on="host",
        victim="ops1",
        breaks=f"tar -cpf /run/sabotage.keys.tar {BASTION_KEYS} 2>/dev/null && sed -i 's/^restrict.* ssh-/ssh-/' {BASTION_KEYS}",
        mends="tar -xpf /run/sabotage.keys.tar -C / && rm /run/sabotage.keys.tar",
        kills=("test_a_key_alone_opens_no_session", "test_each_duty_has_one_recorded_way_in"),
    ),
    Sabotage(
        "everybody reads the recordings",
        on="log",
        breaks=f"chmod -R o+rX {FOLDER}",
        mends=f"chmod -R o-rwx {FOLDER}",
        kills=(
            "test_the_audit_duty_reads_lines_and_recordings_and_nobody_changes_them",
            "test_recordings_are_the_audit_duty_s",
        ),
    ),
)
