# SPDX-License-Identifier: Apache-2.0
"""What runs is what the files say: of sshd, the forwarder of the log, the journal, Apache, the CRM, and the kernel."""

import re
import secrets
from functools import cache

import pytest
from running_settings import Reader, behind_their_files
from test_log import KEPT_DAYS

from jinku.evidence.sabotage import Sabotage
from jinku.places import CHECKOUT

TOKEN = secrets.token_hex(6)

SSHD = Reader("ssh.service", "/etc/ssh/sshd_config /etc/ssh/sshd_config.d /etc/ssh/ssh_host_*", reloads=True)
# A package's snippet is not read, and its update touches the folder: where one lies, only what is read is asked about.
FORWARDER = (
    "/etc/rsyslog.conf /etc/rsyslog.d/*-jinku-*.conf $(ls /etc/rsyslog.d | grep -qv -- -jinku- || echo /etc/rsyslog.d)"
)
RSYSLOG = Reader("rsyslog.service", FORWARDER, words="/usr/sbin/rsyslogd -n -iNONE")
JOURNALD = Reader(
    "systemd-journald.service",
    " ".join(
        f"{root}/systemd/journald.conf{end}"
        for root in ("/etc", "/run", "/usr/local/lib", "/usr/lib")
        for end in ("", ".d")
    ),
    words="/usr/lib/systemd/systemd-journald",
)
APACHE = Reader(
    "apache2.service",
    "/etc/apache2/apache2.conf /etc/apache2/envvars /etc/apache2/jinku /etc/apache2/jinku.d",
    reloads=True,
    words="/usr/sbin/apache2 -k start",
    processes="-C apache2",  # systemd does not know which of them is the first
)


@pytest.mark.control("dengbao:8.1.4.7.b", "dengbao:8.1.4.3.a", "iso27001:A.8.9", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_sshd_and_the_recorders_run_with_what_their_files_hold(host):
    """No file that sshd, the journal or the forwarder reads at its start changed since it was read, and no other options were given.

    zh: sshd、系统日志与日志转发进程所加载的配置即其配置文件的现有内容，启动参数未被更改。
    """
    found = behind_their_files(host, SSHD, JOURNALD, RSYSLOG)
    assert not found, "; ".join(found)


# Names of the forwarder's files; then, of what holds for this host's own lines (a receiver's rules are indented), whatever picks some out.
PICKED_OUT = (
    "cd /etc/rsyslog.d && ls -- *-jinku-*.conf && echo == && { cat /etc/rsyslog.conf $(ls -- *-jinku-*.conf | grep -v ^80-);"
    " sed 's/^ .*//' 80-jinku-*.conf 2>/dev/null; } | grep -v '^ *#' | grep -E '^ *(if |:|[a-z*,]+[.][*!=a-z;,.]+[[:space:]]|stop|&|call )|~ *$'; true"
)
FORWARDERS = {
    f"{name}.conf" for name in ("50-jinku-openbao", "80-jinku-receiver", "80-jinku-witness", "90-jinku-forward")
}
# Seals are sent to the witness as well; nothing else is looked at.
SEALS = 'if $programname == "jinku-seal" '


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.5.4.d", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_every_line_is_forwarded(host):
    """The forwarder's files send every line of the host to the log tier: no rule picks some out, or stops others.

    zh: 转发配置将本机全部日志行送往日志层，不存在筛选或丢弃规则。
    """
    names, _, picked = host.check_output(PICKED_OUT).partition("==")
    strange = sorted(set(names.split()) - FORWARDERS)
    assert not strange, f"the forwarder also reads {', '.join(strange)}"
    lines = [line for line in picked.splitlines() if line.strip() and not line.startswith(SEALS)]
    assert lines == ["call forward"], f"lines are picked out: {'; '.join(lines) or 'nothing is forwarded'}"


@pytest.mark.control("dengbao:8.1.3.3.a", "dengbao:8.1.4.4.d", "iso27001:A.8.20")
@pytest.mark.objects("edge")
@pytest.mark.setting
def test_the_edge_runs_with_what_its_files_hold(host):
    """No file of Apache's settings and rules changed since it was read, and no other options were given.

    zh: 边界 Apache 所加载的配置与防护规则即其配置文件的现有内容。
    """
    found = behind_their_files(host, APACHE)
    assert not found, "; ".join(found)


@cache
def kernel_settings():
    """What hardening/kernel sets: (file below /proc/sys, * is any, value, whether a container shares it with its machine)."""
    text = (CHECKOUT / "hardening/kernel/files/etc/sysctl.d/90-jinku.conf").read_text(encoding="utf-8")
    lines = [line.partition("=") for line in text.splitlines() if line and not line.startswith("#")]
    return [
        (name.strip().removeprefix("-").replace(".", "/"), value.strip(), name.startswith("-"))
        for name, _, value in lines
    ]


@pytest.mark.control("dengbao:8.1.4.7.b", "iso27001:A.8.9")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_kernel_runs_with_what_was_set(host):
    """Each value of the running kernel is the one that was set, for every interface; a container is asked for those that are its own.

    zh: 运行中内核的各项参数（含每个网络接口）与设定一致；容器仅核对其自有参数。共享内存不可执行程序，服务不产生核心转储。
    """
    shared = host.run("systemd-detect-virt --container").rc == 0
    wanted = [(name, value) for name, value, of_the_machine in kernel_settings() if not (shared and of_the_machine)]
    told = host.run(f"cd /proc/sys && grep -sH '' {' '.join(name for name, _ in wanted)} | sort -u").stdout
    now = [line.partition(":")[::2] for line in told.splitlines()]
    other = []
    for pattern, value in wanted:
        same = re.compile(re.escape(pattern).replace(r"\*", "[^/]+"))
        mine = [(name, found) for name, found in now if same.fullmatch(name)]
        # What a kernel of the host's own does not know cannot be set; those of the network are in each.
        assert mine or not pattern.startswith("net/ipv4"), f"the kernel does not tell {pattern}"
        other += [f"{name} = {found}, not {value}" for name, found in mine if found != value]
    assert not other, f"the kernel runs with {'; '.join(list(dict.fromkeys(other))[:6])}"
    mounted = set(host.check_output("findmnt -n -o OPTIONS /dev/shm").split(","))
    assert {"nosuid", "nodev", "noexec"} <= mounted, "programs run from shared memory"
    assert host.check_output("systemctl show -P DefaultLimitCORE") == "0", "services may write core dumps"


# What the journal is told of a unit (least level, limits, fields) stands in names below /run/systemd/units. systemd writes them of what the
# unit's own files say, while it runs; invocation:* is the only one of every unit.
LEFT_OUT_OF_UNITS = (
    "cd /run/systemd/units && for name in $(ls); do unit=${name#*:}; case $name in invocation:*) ;;"
    ' log-level-max:*) level=$(readlink "$name") || continue; [ "$level" = "$(systemctl show -P LogLevelMax "$unit")" ] || echo "$name" ;;'
    ' log-*) systemctl cat "$unit" 2>/dev/null | grep -qE \'^Log(RateLimit|ExtraFields|Filter)\' || echo "$name" ;; esac; done'
)


@pytest.mark.control("dengbao:8.1.4.3.a", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_no_setting_takes_anything_out_of_the_journal(host):
    """Of all files together: the journal is on disk, for six months where there is room, and nothing says what else it leaves out.

    zh: 合并全部配置片段后：日志持久保存不少于六个月（空间允许时），不经其他途径转发，且无任何削减记录级别或来源的设置。
    """
    told = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    # The last one holds, and an empty one takes back what was said before.
    said = dict(re.findall(r"^\s*(\w+)\s*=\s*(.*?)\s*$", told, re.MULTILINE))
    said = {name: value for name, value in said.items() if value}
    own = {"Storage", "Compress", "SystemMaxUse", "MaxRetentionSec", "ForwardToSyslog", "SyncIntervalSec"}
    own |= {"RateLimitIntervalSec"}
    more = [f"{name}={value}" for name, value in said.items() if name not in own]
    assert not more, f"also in force: {', '.join(more)}"
    assert said.get("Storage") == "persistent", f"the journal is kept {said.get('Storage')}"
    assert said.get("ForwardToSyslog") in ("no", "0", "false"), "lines go a second way, past the forwarder"
    assert said.get("SyncIntervalSec", "10s") == "10s", f"brought to the disk every {said['SyncIntervalSec']} only"
    limit = said.get("RateLimitIntervalSec", "that of systemd")
    assert limit == "0", f"a flood of lines takes later ones of its unit out, within {limit}"
    days = re.fullmatch(r"(\d+)day", said.get("MaxRetentionSec", ""))
    assert days, f"kept for {said.get('MaxRetentionSec')}"
    assert int(days[1]) >= KEPT_DAYS, f"kept for {days[1]} days"
    assert re.fullmatch(r"[1-9]\d{2,}M|[1-9]\d*G", said.get("SystemMaxUse", "")), f"room: {said.get('SystemMaxUse')}"
    hidden = host.check_output(LEFT_OUT_OF_UNITS).splitlines()
    assert not hidden, f"the journal is told to leave out lines: {'; '.join(hidden)}"


@pytest.mark.control("dengbao:8.1.4.3.a", "iso27001:A.8.15")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_the_journal_keeps_the_least_of_lines(host):
    """A line of the lowest level is found in the journal: what runs leaves out none, whatever its files say.

    zh: 最低级别的日志行可在系统日志中查到：运行中的日志进程不丢弃任何级别。
    """
    mark = f"least-{TOKEN}"
    host.run_expect([0], f"logger -t jinku-check -p user.debug {mark}")
    found = host.run(
        f"for i in 1 2 3 4 5; do journalctl -q -t jinku-check --since -5min -o cat --no-pager | grep -F {mark} && exit 0; sleep 0.2; done; exit 1"
    )
    assert found.rc == 0, "the journal leaves out lines of the lowest level"


def _loaded_and_put_back(file: str, change: str, load: str) -> str:
    """Shell: change a file, have it loaded, and put it back as it was, to the last byte."""
    return f"cp -a {file} /run/sabotage.kept && {change} && {load} && sleep 1 && cp -a /run/sabotage.kept {file} && rm /run/sabotage.kept"


JOURNAL_FILE = "/etc/systemd/journald.conf.d/99-sabotage.conf"
SSH_FILE = "/etc/ssh/sshd_config.d/10-jinku.conf"
SABOTAGE = (
    Sabotage(
        "sshd lets try a hundred times, and its file is as it was",
        on="host",
        breaks=_loaded_and_put_back(
            SSH_FILE, f"sed -i 's/^MaxAuthTries .*/MaxAuthTries 100/' {SSH_FILE}", "systemctl reload ssh"
        ),
        mends="systemctl reload ssh",
        kills=("test_sshd_and_the_recorders_run_with_what_their_files_hold",),
    ),
    Sabotage(
        "what sshd says is not forwarded",
        on="host",
        breaks="echo ':programname, isequal, \"sshd-session\" stop' > /etc/rsyslog.d/10-jinku-sabotage.conf",
        mends="rm /etc/rsyslog.d/10-jinku-sabotage.conf && systemctl restart rsyslog.service",
        kills=("test_every_line_is_forwarded",),
    ),
    Sabotage(
        "only what is a warning is forwarded",
        on="host",
        breaks="cp -a /etc/rsyslog.d/90-jinku-forward.conf /run/sabotage.forward"
        " && sed -i 's/^call forward/if $syslogseverity <= 4 then call forward/' /etc/rsyslog.d/90-jinku-forward.conf",
        mends="cp -a /run/sabotage.forward /etc/rsyslog.d/90-jinku-forward.conf && rm /run/sabotage.forward && systemctl restart rsyslog.service",
        kills=("test_every_line_is_forwarded",),
    ),
    Sabotage(
        "the edge only watches, and its files are as they were",
        on="edge",
        breaks="echo 'SecRuleEngine DetectionOnly' > /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1"
        " && rm /etc/apache2/jinku.d/sabotage.conf",
        mends="systemctl reload apache2 && sleep 1",
        kills=("test_the_edge_runs_with_what_its_files_hold",),
    ),
    Sabotage(
        "the kernel takes the way that a sender chooses, and shared memory runs programs",
        on="host",
        breaks="sysctl -qw net.ipv4.conf.all.accept_source_route=1 && mount -o remount,exec /dev/shm",
        mends="sysctl -qw net.ipv4.conf.all.accept_source_route=0 && systemctl restart jinku-mounts.service",
        kills=("test_the_kernel_runs_with_what_was_set",),
    ),
    Sabotage(
        "the journal leaves out what is less than a warning",
        on="host",
        breaks=f"printf '[Journal]\\nMaxLevelStore=warning\\n' > {JOURNAL_FILE} && systemctl restart systemd-journald.service",
        mends=f"rm {JOURNAL_FILE} && systemctl restart systemd-journald.service",
        kills=(
            "test_no_setting_takes_anything_out_of_the_journal",
            "test_the_journal_keeps_the_least_of_lines",
        ),
    ),
    Sabotage(
        "the journal leaves out what comes after a flood of lines",
        on="host",
        breaks=f"printf '[Journal]\\nRateLimitIntervalSec=30s\\n' > {JOURNAL_FILE}",
        mends=f"rm {JOURNAL_FILE} && systemctl restart systemd-journald.service",
        kills=("test_no_setting_takes_anything_out_of_the_journal",),
    ),
    Sabotage(
        "the journal is told to leave out all lines of the nightly upgrade",
        on="host",
        breaks="ln -s 0 /run/systemd/units/log-level-max:apt-daily-upgrade.service",
        mends="rm /run/systemd/units/log-level-max:apt-daily-upgrade.service",
        kills=("test_no_setting_takes_anything_out_of_the_journal",),
    ),
    Sabotage(
        "the journal left out what is less than a warning, and its files no longer say so",
        on="host",
        breaks=f"printf '[Journal]\\nMaxLevelStore=warning\\n' > {JOURNAL_FILE} && systemctl restart systemd-journald.service && sleep 1"
        f" && rm {JOURNAL_FILE}",
        mends="systemctl restart systemd-journald.service",
        kills=(
            "test_sshd_and_the_recorders_run_with_what_their_files_hold",
            "test_the_journal_keeps_the_least_of_lines",
        ),
    ),
)
