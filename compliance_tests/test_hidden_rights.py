# SPDX-License-Identifier: Apache-2.0
"""Rights that nobody declared and that the named accounts do not show: foreign keys, sudo, setuid, programs that are not the system's."""

import re

import pytest
from asking import ONE_AUTHORITY, SECOND_AUTHORITY, ask, people_on, sshd_setting, trusted_authorities

from jinku.evidence.sabotage import Sabotage
from jinku.model.people import principal
from jinku.vault.people import USER_CA

#: What Debian's packages of a small server run with another account's or group's rights.
SETUID = {
    "/usr/bin/chage", "/usr/bin/chfn", "/usr/bin/chsh", "/usr/bin/expiry", "/usr/bin/gpasswd", "/usr/bin/mount", "/usr/bin/newgrp",
    "/usr/bin/passwd", "/usr/bin/ssh-agent", "/usr/bin/su", "/usr/bin/sudo", "/usr/bin/umount", "/usr/bin/crontab",
    "/usr/lib/dbus-1.0/dbus-daemon-launch-helper", "/usr/lib/openssh/ssh-keysign", "/usr/sbin/unix_chkpwd",
    "/usr/bin/dotlockfile", "/usr/lib/polkit-1/polkit-agent-helper-1", "/usr/bin/fusermount3", "/usr/sbin/pam_extrausers_chkpwd",
}  # fmt: skip

#: What Debian's packages may give a capability by its file: the right to send its own packets.
CAPABLE = {
    "/usr/bin/ping",
    "/usr/bin/fping",
    "/usr/bin/mtr-packet",
    "/usr/bin/arping",
    "/usr/bin/prometheus-blackbox-exporter",
}


def declared_keys(topology, places):
    """Key (type and base64) of each who may log in, by account."""
    found = {"automation": {" ".join(places.automation_key.with_suffix(".pub").read_text().split()[:2])}}
    for operator in topology.env.operators:
        if operator.state == "present":
            made = places.ssh / "operators" / f"{operator.name}.pub"
            keys = operator.keys or ([made.read_text()] if made.exists() else [])
            found[operator.name] = {" ".join(str(key).split()[:2]) for key in keys}
    return found


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_sshd_takes_declared_keys_only_from_anybody(host, topology, places, subject):
    """Each key and principal in force is a declared person's own; the vault's is the only authority; no Match block or program adds a way in.

    zh: 生效的公钥与证书主体均属于已声明人员本人；仅信任密钥库的证书颁发者；不存在 Match 块或外部程序形成的其他登录途径。
    """
    wanted = declared_keys(topology, places)
    for line in host.check_output("cd /etc/ssh/authorized_keys.d && grep -H . *").splitlines():
        name, _, key = line.partition(":")
        options, _, bare = key.rpartition("ssh-ed25519 ") if name == "automation" else key.partition(" ")
        shown = f"ssh-ed25519 {bare}" if name == "automation" else bare
        assert " ".join(shown.split()[:2]) in wanted.get(name, ()), f"a key of {name} that is not declared: {key[-40:]}"
        if name != "automation":
            assert options.startswith("restrict,port-forwarding,permitopen="), (
                f"the key of {name} opens more: {options}"
            )
            assert options.endswith('command="/usr/bin/false"'), f"the key of {name} opens a session"
    named = {one.name: one.duty for one in people_on(topology, subject.node)}
    for line in host.check_output("cd /etc/ssh/principals.d && grep -H . *").splitlines():
        name, _, told = line.partition(":")
        assert name in named, f"a certificate opens the account {name}, whom nobody declared here"
        *options, who = told.split()
        ours = principal(name, named[name], wanted[name])
        assert who == ours, f"a certificate for {who} opens the account {name}"
        assert 'command="/usr/local/libexec/jinku-session"' in "".join(options), f"sessions of {name} are not recorded"
    setting = sshd_setting(host)
    for other in ("authorizedkeyscommand", "authorizedprincipalscommand"):
        assert setting.get(other, "none") == "none", f"{other}: {setting[other]}"
    # Nobody goes on to other hosts past the recorder; over the bastion a person goes to the ports that are named.
    ways = ("allowagentforwarding", "allowstreamlocalforwarding", "permittunnel", "x11forwarding", "gatewayports")
    onward = [name for name in ways if setting[name] != "no"]
    assert not onward, f"sshd leads on: {', '.join(onward)}"
    bastion = "bastion" in subject.tiers
    assert setting["allowtcpforwarding"] == ("local" if bastion else "no"), "sshd leads on to any port"
    wide = [word for word in setting["permitopen"].split() if word == "any" or "*" in word]
    assert not bastion or not wide, f"the bastion leads to {', '.join(wide)}"
    vaults = (places.ssh / USER_CA).read_text().split()[:2]
    assert trusted_authorities(host, setting) == [vaults], "another authority than the vault's is trusted"
    # sshd tells which files it reads, so a block that an Include hides is met as well.
    blocks = host.check_output(
        "/usr/sbin/sshd -T -ddd 2>&1 | sed -n \"s/.*checking syntax for '\\(Match .*\\)' on line.*/\\1/p\"; true"
    )
    assert not blocks, f"for some the settings are others: {', '.join(blocks.splitlines())}"
    started = host.check_output("ps -o args= -C sshd | grep -F '[listener]'").splitlines()
    odd = [line for line in started if line.split(" [listener]")[0] != "sshd: /usr/sbin/sshd -D"]
    assert started, "no sshd listens"
    assert not odd, f"sshd runs with options of its own: {odd[0]}"


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.b", "dengbao:8.1.5.1.b", "iso27001:A.5.3", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_nobody_else_becomes_root(host, topology):
    """Sudo knows root, the automation and declared people only; who is no system administrator gets commands with their arguments; no file lends rights, no home is open.

    zh: sudo 仅授权 root、自动化账户与已声明人员；非系统管理员的命令参数均被限定；无多余的 setuid 程序与文件能力，主目录不可被他人写入。
    """
    duties = {operator.name: operator.duty for operator in topology.env.operators if operator.state == "present"}
    told = ask(host, "sudo_rights.py").splitlines()
    assert any(line.startswith("automation|") for line in told), "not even the automation's rule was found"
    for line in told:
        name, whom, commands = line.split("|", 2)
        assert name in ("root", "automation", *duties), f"sudo lets {name} run {commands}"
        if duties.get(name, "system") != "system":
            told_of = commands.replace("NOPASSWD: ", "").split(", ")
            # in their own name it is no more than they may do anyway
            free = [one for one in told_of if whom != name and (" " not in one.strip() or "*" in one)]
            assert not free, f"{name} ({duties[name]}) runs with any arguments: {', '.join(free)}"
    lent = [line.split(" ", 1) for line in ask(host, "lent_rights.py", timeout=60).splitlines()]
    raised, capable, written = (
        {path for how, path in lent if how == which} for which in ("setuid", "capable", "written")
    )
    assert raised, "no program is setuid, sudo neither: the walk saw nothing"
    assert not raised - SETUID, f"setuid or setgid: {', '.join(sorted(raised - SETUID))}"
    assert not capable - CAPABLE, f"with capabilities of their own: {', '.join(sorted(capable - CAPABLE))}"
    assert not written, f"others write what its owner's shell runs: {', '.join(sorted(written))}"


#: Where systemd has services look for programs.
PROGRAMS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")


@pytest.mark.control("dengbao:8.1.4.7.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_nothing_that_is_gone_at_the_next_start_changes_a_service(host):
    """No unit, mask or drop-in, and no setting of journal, kernel or files, stands below /run, and no job of cron's below /var: no integrity check looks there.

    zh: /run 下没有改变服务、日志、内核参数或文件的单元、屏蔽或覆盖配置，/var 下没有个人定时任务（完整性检查不覆盖该处）。
    """
    # Sessions, and what systemd itself makes of its settings, are there on every host; netplan is how some clouds set up the network,
    # and a kernel of the host's own has its static device nodes named there (kmod): these, and nothing else. A folder alone says nothing.
    told = host.check_output(
        "{ systemctl show '*' -p FragmentPath,DropInPaths | tr ' =' '\\n\\n' | grep '^/run/';"
        " find /run/systemd/system /run/systemd/system.control /run/systemd/*.conf.d /run/sysctl.d /run/tmpfiles.d"
        " /run/modprobe.d /run/polkit-1/rules.d -mindepth 1 ! -type d ! -path /run/tmpfiles.d/static-nodes.conf 2>/dev/null;"
        " grep -hvE '^[bcd]!? /dev/' /run/tmpfiles.d/static-nodes.conf 2>/dev/null;"
        " find /var/spool/cron /var/spool/at -type f ! -name .SEQ 2>/dev/null; true; }"
        " | grep -vE '^/run/systemd/generator|\\.scope$|^/run/systemd/system/([^/]*\\.wants/)?netplan-[^/]*\\.service$"
        "|^/run/systemd/system/systemd-networkd-wait-online\\.service\\.d/10-netplan[^/]*\\.conf$' | sort -u; true"
    ).split()
    jobs = [path for path in told if path.startswith("/var/spool/")]
    assert not jobs, f"a program runs at its time by {', '.join(jobs)}"
    assert not told, f"in force until the next start: {', '.join(told)}"
    # What every service is started with beside its own settings: language, and the folders of the system's own programs.
    given = dict(line.split("=", 1) for line in host.check_output("systemctl show-environment").splitlines())
    more = sorted(name for name in given if not re.fullmatch("LANG|LANGUAGE|LC_[A-Z]+|PATH", name))
    assert not more, f"every service is started with {', '.join(more)}"
    strange = set(given.get("PATH", "").split(":")) - {"", *PROGRAMS}
    assert not strange, f"services look for programs in {', '.join(sorted(strange))}"


#: States of the timers and paths that Jinku's roles have systemd start, and of the agent, which renews certificates and secrets.
WATCHES = (
    "cd /etc/systemd/system && systemctl show -p Id,ActiveState jinku-agent.service"
    " $(ls *.wants | grep -E '^jinku-.*\\.(timer|path)$' | sort -u)"
)


@pytest.mark.control("dengbao:8.1.4.7.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_what_looks_after_the_host_goes_on(host):
    """Each timer and path of Jinku's waits for its moment, and the agent runs: what is stopped comes back at the next start only.

    zh: Jinku 的各定时与路径单元均在等待触发，证书与口令更新代理在运行；被停止者要到下次启动才恢复。
    """
    units = [dict(line.split("=", 1) for line in one.splitlines()) for one in host.check_output(WATCHES).split("\n\n")]
    assert len(units) > 2, f"the host's units could not be asked: {units}"
    still = [f"{one['Id']} is {one['ActiveState']}" for one in units if one["ActiveState"] != "active"]
    assert not still, f"stopped: {', '.join(still)}"


# What the check itself asks through: packages of the programs whose answers are believed.
ASKED_THROUGH = (
    "aide coreutils dash diffutils findutils gawk mawk grep iproute2 libc-bin libpam-runtime login login.defs nftables openssh-server passwd"
    " procps python3-minimal python3.13-minimal rsyslog sed sudo systemd util-linux"
)


@pytest.mark.control("dengbao:8.1.4.7.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_programs_that_are_asked_are_the_real_ones(host):
    """No file of /usr/local takes the name of a system's program, and the programs asked here are as their packages brought them.

    zh: /usr/local 下无冒名系统程序的文件；检查所依赖的程序与软件包原文件一致。
    """
    shadows = host.check_output(
        "for one in $(/usr/bin/ls -A /usr/local/bin /usr/local/sbin | /usr/bin/grep -v :); do"
        " for real in /usr/bin /usr/sbin; do [ -e $real/$one ] && echo $one; done; done; true"
    ).split()
    assert not shadows, f"stands before the system's own: {', '.join(sorted(set(shadows)))}"
    there = host.check_output(
        f"/usr/bin/dpkg-query -W -f '${{db:Status-Abbrev}}${{Package}}\\n' {ASKED_THROUGH} 2>/dev/null | /usr/bin/sed -n 's/^ii //p'"
    ).split()
    verified = host.run(f"/usr/bin/dpkg --verify {' '.join(there)}", timeout=60).stdout.splitlines()
    changed = [line.split()[-1] for line in verified if " c " not in line and "/usr/share/" not in line]
    assert "iproute2" in there, "the packages could not be asked for"
    assert not changed, f"not as the package brought it: {', '.join(changed)}"


SABOTAGE = (
    Sabotage(
        "sshd believes in a second authority, which stands below the vault's",
        on="host",
        breaks=SECOND_AUTHORITY,
        mends=ONE_AUTHORITY,
        kills=("test_sshd_takes_declared_keys_only_from_anybody",),
    ),
    Sabotage(
        "a second key on the automation's account, and a Match block",
        on="host",
        breaks="cp -a /etc/ssh/authorized_keys.d/automation /run/sabotage.key"
        " && echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxiqn6nUdMwOAF7rKMLs8uUoDoVkjSoSV5Upx1VGdVf sabotage'"
        " >> /etc/ssh/authorized_keys.d/automation"
        " && printf 'Match User games\\n  PasswordAuthentication yes\\n' > /etc/ssh/sshd_config.d/99-sabotage.conf && systemctl reload ssh",
        mends="mv /run/sabotage.key /etc/ssh/authorized_keys.d/automation && rm /etc/ssh/sshd_config.d/99-sabotage.conf"
        " && systemctl reload ssh",
        kills=("test_sshd_takes_declared_keys_only_from_anybody",),
    ),
    Sabotage(
        "who has a session goes on from here to any port",
        on="host",
        breaks="echo 'AllowTcpForwarding yes' > /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        mends="rm /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        kills=("test_sshd_takes_declared_keys_only_from_anybody",),
    ),
    Sabotage(
        "the bastion leads to any port of any host",
        on="host",
        victim="ops1",
        breaks="echo 'PermitOpen any' > /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        mends="rm /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        kills=("test_sshd_takes_declared_keys_only_from_anybody",),
    ),
    Sabotage(
        "cron has a job that nobody knows of",
        on="host",
        breaks="[ -d /var/spool/cron/crontabs ] || { mkdir -p /var/spool/cron/crontabs && touch /run/sabotage.cron; };"
        " echo '# sabotage' > /var/spool/cron/crontabs/root",
        mends="rm /var/spool/cron/crontabs/root; if [ -e /run/sabotage.cron ]; then rm -r /var/spool/cron/crontabs /run/sabotage.cron; fi",
        kills=("test_nothing_that_is_gone_at_the_next_start_changes_a_service",),
    ),
    Sabotage(
        "a service's account may use sudo, and a shell is setuid",
        on="host",
        breaks="echo 'games ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage"
        " && cp /bin/bash /usr/local/bin/sabotage && chmod 4755 /usr/local/bin/sabotage",
        mends="rm /etc/sudoers.d/zz-sabotage /usr/local/bin/sabotage",
        kills=("test_nobody_else_becomes_root",),
    ),
    Sabotage(
        "a shell on the database's volume is setuid",
        on="host",
        victim="db1",
        breaks="cp /bin/bash /var/lib/postgresql/sabotage && chmod 4755 /var/lib/postgresql/sabotage",
        mends="rm /var/lib/postgresql/sabotage",
        kills=("test_nobody_else_becomes_root",),
    ),
    Sabotage(
        "others write what a person's shell runs",
        on="host",
        breaks='one=/home/$(ls /etc/ssh/principals.d | head -n 1); echo "$(stat -c %a $one) $one" > /run/sabotage.home && chmod 0777 $one',
        mends="chmod $(cat /run/sabotage.home) && rm /run/sabotage.home",
        kills=("test_nobody_else_becomes_root",),
    ),
    Sabotage(
        "a program has a capability by its file, which no mode shows",
        on="host",
        breaks="cp /usr/bin/true /usr/local/bin/sabotage && setcap cap_setuid+ep /usr/local/bin/sabotage",
        mends="rm /usr/local/bin/sabotage",
        kills=("test_nobody_else_becomes_root",),
    ),
    Sabotage(
        "what is started until the next start takes its Python modules from elsewhere",
        on="host",
        breaks="systemctl set-environment PYTHONPATH=/run/sabotage",
        mends="systemctl unset-environment PYTHONPATH",
        kills=("test_nothing_that_is_gone_at_the_next_start_changes_a_service",),
    ),
    Sabotage(
        "until the next start a rule says who may stop services without sudo",
        on="host",
        breaks="[ -d /run/polkit-1/rules.d ] || touch /run/sabotage.polkit; mkdir -p /run/polkit-1/rules.d && echo '// sabotage' > /run/polkit-1/rules.d/sabotage.rules",
        mends="rm /run/polkit-1/rules.d/sabotage.rules; if [ -e /run/sabotage.polkit ]; then rm -r /run/polkit-1/rules.d /run/sabotage.polkit; fi",
        kills=("test_nothing_that_is_gone_at_the_next_start_changes_a_service",),
    ),
    Sabotage(
        "until the next start the nightly check runs in the year 2099 only, and the journal keeps no logins",
        on="host",
        breaks="mkdir -p /run/systemd/system/apt-daily.timer.d /run/systemd/journald.conf.d"
        " && printf '[Timer]\\nOnCalendar=\\nOnCalendar=2099-01-01\\n' > /run/systemd/system/apt-daily.timer.d/sabotage.conf"
        " && printf '[Journal]\\nMaxLevelStore=notice\\n' > /run/systemd/journald.conf.d/sabotage.conf && systemctl daemon-reload",
        mends="rm -r /run/systemd/system/apt-daily.timer.d /run/systemd/journald.conf.d && systemctl daemon-reload",
        kills=("test_nothing_that_is_gone_at_the_next_start_changes_a_service",),
    ),
    Sabotage(
        "nothing looks any more whether log lines wait",
        on="host",
        breaks="systemctl stop jinku-log-waits.timer",
        mends="systemctl start jinku-log-waits.timer",
        kills=("test_what_looks_after_the_host_goes_on",),
    ),
    Sabotage(
        "a program that says all is well stands before the system's own",
        on="host",
        breaks="printf '#!/bin/sh\\nexit 0\\n' > /usr/local/bin/aide && chmod 755 /usr/local/bin/aide",
        mends="rm /usr/local/bin/aide",
        kills=("test_the_programs_that_are_asked_are_the_real_ones",),
    ),
)
