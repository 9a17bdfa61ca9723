# SPDX-License-Identifier: Apache-2.0
"""Only what is needed is installed and runs, and it is what it was."""

import re
from functools import cache

import pytest
import yaml
from test_log import FOLDER, KEPT_DAYS

from jinku.evidence.sabotage import Sabotage
from jinku.places import CHECKOUT

# Compilers, clear-text clients, sniffers and debuggers: a server needs none, an intruder all of them.
FORBIDDEN_PACKAGES = (
    "gcc",
    "g++",
    "make",
    "build-essential",
    "telnet",
    "inetutils-telnet",
    "ftp",
    "tnftp",
    "rsh-client",
    "nmap",
    "netcat-openbsd",
    "netcat-traditional",
    "ncat",
    "tcpdump",
    "wireshark-common",
    "gdb",
    "strace",
    "xserver-common",
    "telnetd",
    "vsftpd",
    "samba",
    "nfs-kernel-server",
    "rpcbind",
    "xinetd",
    "avahi-daemon",
    "cups",
)
DATABASE = "/var/lib/aide/jinku.db"
#: Where a program, a library, a module of Python or a setting would be planted.
FINGERPRINTED = ("/etc", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share", "/usr/local")
FORBIDDEN_COMMANDS = ("cc", "gcc", "make", "telnet", "ftp", "rsh", "nc", "ncat", "nmap", "tcpdump", "gdb", "strace")


@cache
def packages_by_tier():
    """What each role installs; read once a session."""
    return {
        path.parent.parent.name: set(next(iter(yaml.safe_load(path.read_text(encoding="utf-8")).values())))
        for path in CHECKOUT.glob("roles/*/vars/packages.yml")
    }


@pytest.mark.control("dengbao:8.1.4.4.a", "iso27001:A.8.19")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_only_what_the_tier_needs_is_installed(host, subject, topology):
    """No compiler, sniffer or clear-text tool, and no program of another tier is installed.

    zh: 未安装编译器、抓包与明文工具，也未安装其他层的程序。
    """
    installed = set(
        host.check_output("dpkg-query -W -f '${db:Status-Abbrev}${Package}\\n' | sed -n 's/^ii //p'").split()
    )
    there = sorted(installed & set(FORBIDDEN_PACKAGES))
    assert not there, f"installed: {', '.join(there)}"
    own = set(topology.node(subject.node).tiers)
    lists = packages_by_tier()
    mine = set().union(*(lists[tier] for tier in own if tier in lists))
    for tier, packages in lists.items():
        # A package that several tiers and every host share (openssl, rsyslog) is nobody's in particular.
        others = {
            one for one in packages - mine if one.startswith(("postgresql", "apache2", "libapache2", "tryton", "uwsgi"))
        }
        strange = sorted(installed & others) if tier not in own else []
        assert not strange, f"of tier {tier}: {', '.join(strange)}"


@pytest.mark.control("dengbao:8.1.4.4.a", "iso27001:A.8.19")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_nothing_else_runs_or_can_be_run(host):
    """None of these tools answers to its name, and every running program belongs to an installed package.

    zh: 上述工具均无法运行；所有正在运行的程序都属于已安装的软件包。
    """
    found = host.run(f"for one in {' '.join(FORBIDDEN_COMMANDS)}; do command -v $one; done; true").stdout.split()
    assert not found, f"can be run: {', '.join(found)}"
    # One question for all of them, by both names that a merged /usr gives a program.
    programs = {
        exe.removesuffix(" (deleted)") for exe in host.check_output("readlink /proc/[0-9]*/exe; true").splitlines()
    }
    names = sorted(programs | {exe.removeprefix("/usr") for exe in programs})
    known = {
        line.partition(": ")[2] for line in host.run(f"dpkg-query -S {' '.join(names)} 2>/dev/null").stdout.splitlines()
    }
    strange = sorted(exe for exe in programs if not known & {exe, exe.removeprefix("/usr")})
    assert not strange, f"of no package: {', '.join(strange)}"


@pytest.mark.control("dengbao:8.1.4.7.b", "dengbao:8.1.4.4.f", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_programs_and_settings_have_a_fingerprint(host):
    """There is an integrity database, only root reads it, it uses SHA-256 or better, and it is compared each day.

    zh: 已建立完整性基线（SHA-256 以上），仅 root 可读，并每日比对。
    """
    base = host.file(DATABASE)
    assert base.exists, "no integrity database"
    assert (base.user, base.mode & 0o077) == ("root", 0), "others may read or write the integrity database"
    head = host.check_output(f"grep -a -m1 '^@@db_spec' {DATABASE}")
    assert "sha256" in head or "sha512" in head, f"fingerprints are {head}"
    assert host.check_output("systemctl is-active jinku-integrity.timer") == "active", "nothing compares"
    folders = " ".join(f"-e '^{folder}/'" for folder in FINGERPRINTED)
    named = host.check_output(f"grep -aoE {folders} {DATABASE} | sort -u").split()
    left_out = sorted(set(FINGERPRINTED) - {name.rstrip("/") for name in named})
    assert not left_out, f"nothing is kept of {', '.join(left_out)}"


@pytest.mark.control("dengbao:8.1.4.7.b", "dengbao:8.1.4.4.f", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_fingerprints_are_those_that_jinku_took(host, subject, topology, fleet):
    """The integrity database is the one whose digest the log tier received when Jinku made it: nobody made it anew to hide a change.

    zh: 完整性基线的摘要与 Jinku 建立时送达日志层的记录一致，未被他人重新生成以掩盖改动。
    """
    logs = topology.nodes_of("log")
    if not logs:
        pytest.skip("this environment has no log tier")
    # When it was made says its ctime: the other times anybody can set who is root.
    digest, made, now = host.check_output(
        f"sha256sum < {DATABASE} | cut -d ' ' -f 1; stat -c %Z {DATABASE}; date +%s"
    ).split()
    if int(now) - int(made) > (KEPT_DAYS - 1) * 86400:
        pytest.skip(f"made more than {KEPT_DAYS} days ago, of which the log tier need not know any more")
    # The oldest first. A line that waited for the log tier lies in a later day's file, and just after an `up` it may be under way.
    times = 40 if int(now) - int(made) < 60 else 1
    found = fleet.host(logs[0].name).run(
        f"cd {FOLDER}/{subject.node} && for i in $(seq {times}); do for file in $(find . -name '*.log*' -newermt @{int(made) - 3600} | sort); do"
        f" zgrep -hF 'database {digest}' $file | grep -qF ' jinku-integrity' && exit 0; done; sleep 0.25; done; exit 1"
    )
    assert found.rc == 0, "the integrity database was made anew, and not by Jinku (docs/runbooks/host-changed)"


@pytest.mark.control("dengbao:8.1.4.7.b", "dengbao:8.1.4.4.f", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_nothing_has_changed_since(host):
    """Compared now: every program and setting is as it was when Jinku last changed the host.

    zh: 即时比对：所有程序与配置与最近一次受控变更后一致。
    """
    result = host.run("aide --config=/etc/aide/jinku.conf --check", timeout=60)
    assert result.rc < 14, f"the comparison itself failed: {result.stderr}"
    changed = [line for line in result.stdout.splitlines() if line[:1] in "fdlbcs" and ": /" in line]
    assert result.rc == 0, f"changed: {'; '.join(changed[:4])}"


#: Settings of apt by which nothing is asked daily, a package is never updated, or one is taken that nobody signed.
UNDONE = re.compile(
    r'APT::Periodic::Enable "0"|Unattended-Upgrade::Package-(Blacklist:: "|Whitelist:: ")'
    r'|Acquire::(\S*::)?Allow(DowngradeToInsecure|Insecure|Weak)Repositories "(true|yes|1)"|APT::Get::(AllowUnauthenticated|Force-Yes) "(true|yes|1)"'
)
#: Lists of packages that are older know nothing of the week's holes.
FRESH_DAYS = 7
LISTS = "/var/lib/apt/lists"
# Of each installed package that the security archive has in another version: name, installed, offered.
BEHIND = (
    "dpkg-query -W -f '${db:Status-Abbrev}${Package}:${Architecture} ${Version}\\n' | sed -n 's/^ii  *//p' | awk 'NR == FNR { have[$1] = $2; next }"
    ' $1 == "Package:" { name = $2 } $1 == "Architecture:" { arch = $2 } $1 == "Version:" { offered = $2 }'
    ' $1 == "" && name { seen++; key = name ":" arch; if (key in have && have[key] != offered) print key, have[key], offered; name = "" }'
    f' END {{ print "seen", seen }}\' - {LISTS}/*security*_Packages'
)


@pytest.mark.control("dengbao:8.1.4.4.e", "dengbao:8.1.10.5.a", "iso27001:A.8.8")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_holes_are_looked_for_and_mended_daily(host):
    """Apt asks the security archive daily, installs what it brings by itself, takes nothing unsigned, and its lists are of this week.

    zh: 每日查询安全更新并自动安装，拒绝未签名软件，软件列表不超过七天。
    """
    settings = host.check_output("apt-config dump")
    for line in (
        'APT::Periodic::Update-Package-Lists "1";',
        'APT::Periodic::Unattended-Upgrade "1";',
        'APT::Get::AllowUnauthenticated "false";',
    ):
        assert line in settings, f"not in force: {line}"
    assert 'Unattended-Upgrade::Origins-Pattern:: "origin=Debian,codename=${distro_codename}-security' in settings, (
        "security updates are not installed by themselves"
    )
    # Any of these, from whatever file, and what is set above is not done, or not for all.
    undone = [line for line in settings.splitlines() if UNDONE.match(line)]
    assert not undone, f"in force, too: {' '.join(undone)}"
    timers = host.run("systemctl is-active apt-daily.timer apt-daily-upgrade.timer").stdout.split()
    assert timers == ["active", "active"], f"nothing asks or installs: {timers}"
    assert host.check_output("dpkg-query -W -f '${db:Status-Abbrev}' unattended-upgrades").strip() == "ii"
    held = host.check_output("apt-mark showhold").split()
    assert not held, f"never updated, for they are on hold: {', '.join(held)}"
    fresh = host.check_output(f"find {LISTS} -name '*security*_InRelease' -mtime -{FRESH_DAYS}")
    assert fresh, f"the security archive was not looked at for {FRESH_DAYS} days"


@pytest.mark.control("dengbao:8.1.4.4.e", "dengbao:8.1.10.5.a", "iso27001:A.8.8")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_no_security_update_is_outstanding(host):
    """Each installed package is compared with the security archive's list: none is older than what the archive offers.

    zh: 逐一比对已安装软件与安全更新源：无任何未安装的安全更新。
    """
    *differ, seen = host.check_output(BEHIND).splitlines()
    assert int(seen.split()[1]) > 0, "the list of the security archive is empty, so this proves nothing"
    pairs = " ".join(word for line in differ for word in line.split())
    older = host.check_output(
        f"set -- {pairs}; while [ $# -gt 0 ]; do dpkg --compare-versions $2 lt $3 && echo $1 $2 $3; shift 3; done; true"
    )
    assert not older, f"outstanding: {'; '.join(older.splitlines()[:4])}"


SABOTAGE = (
    Sabotage(
        "a clear-text tool is installed",
        on="host",
        breaks="apt-get install -qqy --no-install-recommends inetutils-telnet >/dev/null",
        mends="apt-get purge -qqy inetutils-telnet >/dev/null; rm -f /etc/alternatives/telnet*",
        kills=("test_only_what_the_tier_needs_is_installed", "test_nothing_else_runs_or_can_be_run"),
    ),
    Sabotage(
        "a program of no package runs, and the daily comparison is off",
        on="host",
        breaks="cp /usr/bin/sleep /usr/local/bin/sabotage && (setsid /usr/local/bin/sabotage 600 >/dev/null 2>&1 &)"
        " && systemctl stop jinku-integrity.timer",
        mends="killall -q sabotage || kill $(pidof sabotage); rm /usr/local/bin/sabotage; systemctl start jinku-integrity.timer",
        kills=(
            "test_nothing_else_runs_or_can_be_run",
            "test_nothing_has_changed_since",
            "test_programs_and_settings_have_a_fingerprint",
        ),
    ),
    Sabotage(
        "every Python that starts reads a stranger's file first",
        on="host",
        breaks="echo '# sabotage' > /usr/lib/python3/dist-packages/sabotage.pth",
        mends="rm /usr/lib/python3/dist-packages/sabotage.pth",
        kills=("test_nothing_has_changed_since",),
    ),
    Sabotage(
        "whoever has a certificate of ours may fetch the database's files",
        on="host",
        victim="db1",
        breaks="cp -a /etc/jinku/backup/agent.conf /run/sabotage.agent"
        " && sed -i 's/^tls-server-auth=.*/tls-server-auth=*=main/' /etc/jinku/backup/agent.conf",
        mends="cp -a /run/sabotage.agent /etc/jinku/backup/agent.conf && rm /run/sabotage.agent",
        kills=("test_nothing_has_changed_since",),
    ),
    Sabotage(
        "a change is hidden by fingerprints taken anew",
        on="host",
        breaks=f"cp -a {DATABASE} /run/sabotage.db && echo sabotage > /usr/local/sbin/sabotage"
        f" && {{ aide --config=/etc/aide/jinku.conf --update >/dev/null; mv {DATABASE}.new {DATABASE}; }}",
        mends=f"mv /run/sabotage.db {DATABASE}; rm /usr/local/sbin/sabotage",
        kills=("test_the_fingerprints_are_those_that_jinku_took",),
    ),
    Sabotage(
        "a change is hidden by fingerprints taken anew, of which the file says that they are old",
        on="host",
        breaks=f"cp -a {DATABASE} /run/sabotage.db && echo >> {DATABASE} && touch -d '200 days ago' {DATABASE}",
        mends=f"mv /run/sabotage.db {DATABASE}",
        kills=("test_the_fingerprints_are_those_that_jinku_took",),
    ),
    Sabotage(
        "a line of apt's takes a package out of the updates",
        on="host",
        breaks="echo 'Unattended-Upgrade::Package-Blacklist { \"openssl\"; };' > /etc/apt/apt.conf.d/99sabotage",
        mends="rm /etc/apt/apt.conf.d/99sabotage",
        kills=("test_holes_are_looked_for_and_mended_daily",),
    ),
    Sabotage(
        "a package is on hold, and gets no update",
        on="host",
        breaks="apt-mark hold openssl >/dev/null",
        mends="apt-mark unhold openssl >/dev/null",
        kills=("test_holes_are_looked_for_and_mended_daily",),
    ),
    Sabotage(
        "a package of last year is installed, and nothing installs updates",
        on="host",
        breaks="systemctl stop apt-daily-upgrade.timer && cp -a /var/lib/dpkg/status /run/sabotage.status"
        f" && one=$(sed -n 's/^Package: //p' {LISTS}/*security*_Packages | sort -u | while read -r name; do"
        ' grep -qx "Package: $name" /var/lib/dpkg/status && echo $name && break; done)'
        ' && sed -i "/^Package: $one\\$/,/^\\$/ s/^Version: .*/Version: 0.1/" /var/lib/dpkg/status',
        mends="cp -a /run/sabotage.status /var/lib/dpkg/status && rm /run/sabotage.status; systemctl start apt-daily-upgrade.timer",
        kills=("test_holes_are_looked_for_and_mended_daily", "test_no_security_update_is_outstanding"),
    ),
)
