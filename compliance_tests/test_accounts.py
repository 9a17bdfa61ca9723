# SPDX-License-Identifier: Apache-2.0
"""Which accounts exist, and what each may do."""

import pytest
from asking import KEEP_ACCOUNTS, PUT_ACCOUNTS_BACK, as_user, pam_tries, people_on, ssh_attempt, sshd_setting

from jinku.evidence.sabotage import Sabotage

# Names that images and products ship, and passwords that come with them.
DEFAULT_NAMES = (
    "admin",
    "administrator",
    "debian",
    "ubuntu",
    "test",
    "guest",
    "vagrant",
    "pi",
    "user",
    "oracle",
    "tryton-admin",
)
DEFAULT_PASSWORDS = ("root", "toor", "admin", "123456", "password", "changeme")
AUTOMATION = "automation"
FORBIDDEN = """/usr/bin/id
/usr/sbin/useradd sabotage
/usr/bin/systemctl stop rsyslog.service
/usr/bin/journalctl --vacuum-time=1s
/usr/bin/rm -rf /var/log/journal"""


def expected_people(topology, node):
    return {operator.name: operator.duty for operator in people_on(topology, node)}


def accounts_with_shell(host):
    """Names of accounts whose shell really opens a session: it is run, not looked up in a list."""
    return host.check_output(
        "getent passwd | while IFS=: read -r name _ _ _ _ _ shell; do"
        " test \"$(${shell:-/bin/sh} -c 'echo opened' </dev/null 2>/dev/null)\" = opened && echo $name; done; true"
    ).split()


def present(host, names):
    """Those of ``names`` that are accounts."""
    return host.check_output(f"for one in {' '.join(names)}; do getent passwd $one | cut -d: -f1; done").split()


@pytest.mark.control("dengbao:8.1.4.2.b", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_default_accounts_are_locked(host):
    """Root has no password, sshd lets nobody in as root, and no account that images ship exists.

    zh: root 无口令且不能经 SSH 登录，不存在镜像自带的默认账户。
    """
    assert host.check_output("passwd -S root").split()[1] in ("L", "LK"), "root has a password"
    assert sshd_setting(host, "root")["permitrootlogin"] == "no", "sshd lets root in"
    there = present(host, DEFAULT_NAMES)
    assert not there, f"default accounts: {', '.join(there)}"
    open_ones = [line.split(":")[0] for line in host.check_output("awk -F: '$2 !~ /^[!*]/' /etc/shadow").splitlines()]
    assert not open_ones, f"accounts with a password: {', '.join(open_ones)}"


@pytest.mark.control("dengbao:8.1.4.2.b", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_default_passwords_open_nothing(host, fleet, places, subject):
    """A sweep of default passwords opens no account, and root is refused over SSH even with the automation's key.

    zh: 默认口令扫描全部失败；即使持有自动化密钥也不能以 root 登录。
    """
    names = ["root", *present(host, DEFAULT_NAMES)]
    for name in names:
        service, unlock = "login" if name == "root" else "sshd", f"faillock --user {name} --reset"
        tries = pam_tries(host, service, name, [*DEFAULT_PASSWORDS[:3], name], after=unlock)
        assert all(code != 0 for code, _ in tries), f"{name} is open with a default password"
    code, _, said = ssh_attempt(fleet, places, subject.node, "root", "PreferredAuthentications=publickey")
    assert code == 255, "root logs in over SSH"
    assert "Permission denied" in said, f"not refused at authentication: {said.splitlines()[-1:]}"


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.4.2.a", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_only_declared_people_have_accounts(host, topology, subject):
    """The accounts of people, and the keys that sshd takes, are those of environment.yaml and the automation's.

    zh: 人员账户与 sshd 接受的密钥仅限 environment.yaml 中声明的运维人员与自动化账户。
    """
    declared = {AUTOMATION, *expected_people(topology, subject.node)}
    lines = [line.split(":") for line in host.check_output("getent passwd").splitlines()]
    people = {name for name, _, number, *_ in lines if 1000 <= int(number) < 65534}
    assert people == declared, f"not declared: {sorted(people - declared)}, missing: {sorted(declared - people)}"
    where = sshd_setting(host)["authorizedkeysfile"]
    assert where == "/etc/ssh/authorized_keys.d/%u", f"keys are also looked for in {where}"
    principals = sshd_setting(host)["authorizedprincipalsfile"]
    assert principals == "/etc/ssh/principals.d/%u", f"principals are also looked for in {principals}"
    keys = set(host.check_output("ls /etc/ssh/authorized_keys.d /etc/ssh/principals.d | grep -v : ").split())
    assert keys <= declared, f"keys of nobody declared: {sorted(keys - declared)}"


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.4.2.a", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_nobody_else_gets_a_shell(host, topology, subject):
    """Each account's shell is started: only root's, the automation's and the declared people's opens a session.

    zh: 逐一启动各账户的 shell：仅 root、自动化账户与已声明人员能够打开会话。
    """
    extra = set(accounts_with_shell(host)) - {"root", "sync", AUTOMATION, *expected_people(topology, subject.node)}
    # A service's account may need a shell for its own unit, but then nobody can log in to it: no key, no password.
    locked = {
        name
        for name in extra
        if host.run("passwd -S %s", name).stdout.split()[1:2] in (["L"], ["LK"])
        and not host.file(f"/etc/ssh/authorized_keys.d/{name}").exists
        and not host.file(f"/etc/ssh/principals.d/{name}").exists
        and int(host.check_output("id -u %s", name)) < 1000
    }
    assert extra == locked, f"open to others: {', '.join(sorted(extra - locked))}"


@pytest.mark.control(
    "dengbao:8.1.4.2.d", "dengbao:8.1.4.2.a", "dengbao:8.1.5.1.b", "dengbao:8.1.5.2.b", "iso27001:A.5.3"
)
@pytest.mark.objects("host")
@pytest.mark.setting
def test_duties_are_separate(host, topology, subject):
    """Nobody holds two of the three duties, and only a system administrator may run any command.

    zh: 系统、审计、安全三员不兼任；仅系统管理员可执行任意命令。
    """
    for name, duty in expected_people(topology, subject.node).items():
        groups = set(host.check_output("id -nG %s", name).split())
        duties = {group.removeprefix("jinku-") for group in groups & {"jinku-system", "jinku-audit", "jinku-security"}}
        assert duties == {duty}, f"{name} holds {', '.join(sorted(duties)) or 'no duty'} instead of {duty}"
        assert not groups & {"sudo", "root", "shadow", "disk", "docker", "lxd"}, (
            f"{name} is in a group that is as good as root"
        )
        allowed = host.check_output("sudo -l -U %s", name)
        commands = [
            word.strip()
            for line in allowed.splitlines()
            if line.strip().startswith("(")
            for word in line.partition(")")[2].replace("NOPASSWD:", "").split(",")
        ]
        assert duty == "system" or "ALL" not in commands, f"{name} ({duty}) may run any command"


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.3.d", "dengbao:8.1.4.2.a", "iso27001:A.5.3")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_auditors_and_security_administrators_change_nothing_else(host, topology, subject):
    """Tried as each of them: no root shell, no account, no service, no log; the auditor reads the log.

    zh: 以审计、安全管理员身份实际尝试：不能取得 root、建账户、停服务、删日志；审计员可查阅日志。
    """
    for name, duty in expected_people(topology, subject.node).items():
        if duty == "system":
            continue
        # sudo -l COMMAND answers whether it would run, and runs nothing.
        may = host.check_output(f"""{as_user(name)} sh -c '
while read -r deed; do sudo -n -l $deed >/dev/null 2>&1 && echo "$deed"; done
sudo -n /usr/bin/id >/dev/null 2>&1 && echo become root
test -w /var/log/journal && echo change the journal; true' <<'END'
{FORBIDDEN}
END""")
        assert may == "", f"{name} ({duty}) may {may.splitlines()[0]}"
        reads = host.run(f"{as_user(name)} journalctl -q -n 1 --no-pager -o cat _SYSTEMD_UNIT=ssh.service")
        seen = reads.rc == 0 and reads.stdout.strip() != ""
        assert seen is (duty == "audit"), f"{name} ({duty}) {'reads' if seen else 'does not read'} the journal"


SABOTAGE = (
    Sabotage(
        "root has a default password, and root may log in",
        on="host",
        breaks=f"{KEEP_ACCOUNTS} && usermod -p '$6$sabotage$TnHUu5jVj66kUnBtJLzqaY4qYc6XuMkbpL4oRZZJPZ89ElozXHf/nevboB1ostMpD2ZBrcBAFKA0TltAQ/14a/'"
        " root && echo 'PermitRootLogin yes' > /etc/ssh/sshd_config.d/00-sabotage.conf"
        " && systemctl reload ssh",
        mends=f"{PUT_ACCOUNTS_BACK}; rm /etc/ssh/sshd_config.d/00-sabotage.conf"
        " && systemctl reload ssh && faillock --user root --reset",
        kills=("test_default_accounts_are_locked", "test_default_passwords_open_nothing"),
    ),
    Sabotage(
        "an account that nobody declared",
        on="host",
        breaks=f"{KEEP_ACCOUNTS} && useradd -m -s /bin/bash sabotage && touch /etc/ssh/authorized_keys.d/sabotage",
        mends=f"rm -r /home/sabotage; {PUT_ACCOUNTS_BACK}; rm /etc/ssh/authorized_keys.d/sabotage",
        kills=("test_only_declared_people_have_accounts", "test_nobody_else_gets_a_shell"),
    ),
    Sabotage(
        "the security administrators may do everything",
        on="host",
        breaks="echo '%jinku-security ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage",
        mends="rm /etc/sudoers.d/zz-sabotage",
        kills=("test_duties_are_separate", "test_auditors_and_security_administrators_change_nothing_else"),
    ),
)
