# SPDX-License-Identifier: Apache-2.0
"""The power: a UPS with enough in its battery at each site, and hosts that listen to it, stop in their turn, and can stop nobody else.

Whether they really stop, and in order, shows the drill (tests/drills/test_power_fails.py): a check must stop nobody.
"""

import pytest
from asking import ask
from running_settings import Reader, behind_their_files

from jinku.evidence.sabotage import Sabotage
from jinku.model.power import longest_stop, stop_after

CHARGE_PERCENT = 80
#: Beyond the orderly stop itself: the last host needs time to be off, and mains may fail twice.
RESERVE_S = 60
SETTINGS = "/etc/jinku/power/upsmon.conf"
ACCOUNTS = "/etc/jinku/power/upsd.users"
UPSMON = Reader("nut-monitor.service", SETTINGS)


@pytest.fixture
def ups(topology, subject):
    """The UPS of the assessed node's site."""
    if subject.site not in topology.ups:
        pytest.skip(f"environment.yaml: room.ups: names no UPS of site {subject.site}")
    return topology.ups[subject.site]


def told(host, unit):
    """What upsd says of a UPS, name to value; nobody has to log in for it."""
    lines = host.check_output(f"upsc {unit.unit}@{unit.address}:{unit.port} 2>/dev/null").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_every_ups_has_mains_and_lasts_for_an_orderly_stop(fleet, topology):
    """The UPS of each site runs on mains, its battery is charged (80 percent) and lasts longer than its hosts need to stop in order.

    zh: 各站点 UPS 由市电供电，电量不低于 80%，续航时间长于按序停机所需时间。
    """
    if not topology.ups:
        pytest.skip("environment.yaml: room.ups: names no UPS")
    assert set(topology.ups) == set(topology.sites), f"no UPS at {sorted(set(topology.sites) - set(topology.ups))}"
    for site, unit in topology.ups.items():
        nodes = [node for node in topology.nodes if node.site == site]
        said = told(fleet.host(nodes[0].name), unit)
        words = said.get("ups.status", "silent").split()
        assert "OL" in words, f"{site}: {unit.unit} is not on mains: {words}"
        assert not {"OB", "LB", "RB", "FSD"} & set(words), f"{site}: {unit.unit}: {words}"
        assert float(said["battery.charge"]) >= CHARGE_PERCENT, f"{site}: battery at {said['battery.charge']} percent"
        needed = longest_stop(topology.env, (node.tiers for node in nodes)) + RESERVE_S
        assert float(said["battery.runtime"]) >= needed, f"{site}: lasts {said['battery.runtime']} s, not {needed} s"


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_the_host_stops_in_its_turn(host, topology, subject, ups):
    """The host runs upsmon with the site's UPS, over TLS to a machine whose certificate it verifies, and powers the host off in the turn of its tiers.

    zh: upsmon 经 TLS（校验服务器证书）监听本站点 UPS，电池不足时按所在层的次序关闭本机。
    """
    file = host.file(SETTINGS)
    assert (file.mode, file.user, file.group) == (0o640, "root", "nut"), f"{oct(file.mode)} {file.user}:{file.group}"
    # without the account's password
    shown = host.check_output(rf"sed -E 's/^( *MONITOR +[^ ]+ +[^ ]+) .* ([^ ]+)$/\1 \2/' {SETTINGS}")
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    primary = "room" in subject.tiers
    turn = stop_after(topology.env, subject.tiers)
    for line in (
        f"MONITOR {ups.unit}@{ups.address}:{ups.port} 1 {'primary' if primary else 'secondary'}",
        'SHUTDOWNCMD "/usr/bin/systemctl poweroff"',
        f"FINALDELAY {turn}",
        "CERTVERIFY 1",
        "FORCESSL 1",
        f"CERTHOST {ups.address} {ups.name} 1 1",
        "MINSUPPLIES 1",
    ):
        # Of two lines upsmon takes the last; of two UPSes one that is none would do.
        said = [one for one in lines if one.split()[0] == line.split()[0]]
        assert said == [line], f"{SETTINGS}: {' and '.join(said) or 'nothing'}, not {line}"
    if primary:
        # Whose accounts these are, and their passwords, is left out.
        told = host.check_output(rf"sed -E '/^ *(#|password|$)/d; s/^ *\[.*/account/' {ACCOUNTS}").splitlines()
        rights = sorted(line.strip() for line in told)
        assert rights == ["account", "account", "upsmon primary", "upsmon secondary"], (
            f"{ACCOUNTS}: others than hosts that listen and the primary, or more than that: {rights}"
        )
    found = behind_their_files(host, UPSMON)
    assert not found, "; ".join(found)
    states = host.check_output("ps -o stat= -C upsmon; true").split()
    assert states, "no upsmon runs"
    assert not [state for state in states if state.startswith(("T", "t"))], f"upsmon is held: {states}"


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_the_ups_knows_the_host(host, subject, ups):
    """The UPS's machine (upsd) has this host among those that are logged in to the UPS of their site: they will hear when it fails.

    zh: UPS 服务器（upsd）的已登录主机中有本机，断电时本机将收到通知。
    """
    known = host.check_output(f"upsc -c {ups.unit}@{ups.address}:{ups.port} 2>/dev/null").split()
    assert subject.address in known, f"upsd knows {known}"


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11", "iso27001:A.8.2")
@pytest.mark.objects("host")
@pytest.mark.behaviour
def test_no_host_may_stop_the_others(host, subject, ups):
    """Tried over TLS: without an account, with a wrong password, and with the host's own, nobody may tell the site that all must stop.

    zh: 经 TLS 尝试：无账户、错误口令及本机账户均无权令全站点停机（仅 UPS 旁主机可以）。
    """
    said = ask(host, "ups_try.py", str(ups.address), str(ups.port), ups.unit)
    answers = dict(line.split(": ", 1) for line in said.splitlines())
    assert answers["own login"] == "OK", f"the host itself is not let in: {answers['own login']}"
    own = set() if "room" in subject.tiers else {"own account", "primary's name"}
    for who in ("stranger", "wrong password", *sorted(own)):
        assert answers[who].startswith("ERR "), f"{who}: {answers[who]}"
        assert "UNKNOWN" not in answers[who], f"{who}: nothing was tried: {answers[who]}"


_UPS = "/run/jinku-ups/ups-a.dev"
_USERS = ACCOUNTS

SABOTAGE = (
    Sabotage(
        "a battery that lasts for a minute",
        on="environment",
        where="room",
        breaks=f"cp {_UPS} /run/sabotage.dev && sed -i 's/^battery.runtime:.*/battery.runtime: 60/' {_UPS}",
        mends=f"cp /run/sabotage.dev {_UPS} && rm /run/sabotage.dev",
        kills=("test_every_ups_has_mains_and_lasts_for_an_orderly_stop",),
        settle=3.0,
    ),
    Sabotage(
        "a host that listens to no UPS",
        on="host",
        breaks="systemctl stop nut-monitor.service",
        mends="systemctl start nut-monitor.service",
        kills=("test_the_host_stops_in_its_turn", "test_the_ups_knows_the_host"),
        settle=3.0,
    ),
    Sabotage(
        "upsmon runs with another turn, and its file is as it was",
        on="host",
        breaks=f"cp -a {SETTINGS} /run/sabotage.upsmon && sed -i 's/FINALDELAY .*/FINALDELAY 9999/' {SETTINGS}"
        f" && systemctl restart nut-monitor.service && sleep 1 && cp -a /run/sabotage.upsmon {SETTINGS} && rm /run/sabotage.upsmon",
        mends="systemctl restart nut-monitor.service",
        kills=("test_the_host_stops_in_its_turn",),
        settle=3.0,
    ),
    Sabotage(
        "a second line has upsmon stop nothing",
        on="host",
        breaks=f"cp -a {SETTINGS} /run/sabotage.upsmon && echo 'SHUTDOWNCMD \"/usr/bin/true\"' >> {SETTINGS}"
        " && systemctl restart nut-monitor.service",
        mends=f"cp -a /run/sabotage.upsmon {SETTINGS} && rm /run/sabotage.upsmon && systemctl restart nut-monitor.service",
        kills=("test_the_host_stops_in_its_turn",),
        settle=3.0,
    ),
    Sabotage(
        "upsmon is there, and held",
        on="host",
        breaks="kill -STOP $(pidof upsmon)",
        mends="kill -CONT $(pidof upsmon)",
        kills=("test_the_host_stops_in_its_turn",),
        settle=1.0,
    ),
    Sabotage(
        "every host may tell the UPS to switch itself off",
        on="host",
        victim="room1",
        breaks=f"cp -p {_USERS} /run/sabotage.users && sed -i 's/^ *upsmon secondary/&\\n  instcmds = ALL/' {_USERS}"
        " && systemctl kill --signal=HUP nut-server",
        mends=f"cp -p /run/sabotage.users {_USERS} && rm /run/sabotage.users && systemctl kill --signal=HUP nut-server",
        kills=("test_the_host_stops_in_its_turn",),
        settle=1.0,
    ),
    Sabotage(
        "every host may say that all must stop",
        on="host",
        where="room",
        breaks=f"cp -p {_USERS} /run/sabotage.users && sed -i 's/upsmon secondary/upsmon primary/' {_USERS} && systemctl kill --signal=HUP nut-server",
        mends=f"cp -p /run/sabotage.users {_USERS} && rm /run/sabotage.users && systemctl kill --signal=HUP nut-server",
        kills=("test_no_host_may_stop_the_others",),
        settle=1.0,
    ),
)
