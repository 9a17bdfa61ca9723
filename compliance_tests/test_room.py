# SPDX-License-Identifier: Apache-2.0
"""The machine room: each quantity is measured, now, by an encrypted way, and what leaves its bounds is an alarm that somebody gets."""

import pytest
from monitor_api import Monitor

from jinku.evidence.sabotage import Sabotage

FRESH_S = 300  # GB/T 28448 L3-PES1-14: younger than five minutes
# GB 50174-2017, cold aisle; an item's quantities with the alarm that each must have
TEMPERATURE_C, HUMIDITY_PERCENT = 27, 60
WATER = {"water": "WaterLeak"}
AIR = {"temperature": "OverTemperature", "humidity": "Damp"}
DAMP = {"humidity": "Damp"}
POWER = {"mains": "OnBattery", "battery": "BatteryLow"}
BOUNDS = {"temperature": (15, TEMPERATURE_C), "humidity": (1, HUMIDITY_PERCENT), "battery": (80, 100)}


@pytest.fixture
def monitor(fleet, topology, subject):
    """The environment's monitor."""
    return Monitor(fleet, topology, subject)


def judged(monitor, topology, alarms):
    """Every point of these quantities: asked, answered within five minutes, within its bounds, its alarms loaded and routed."""
    points = [
        (name, point) for name, device in topology.room.items() for point in device.points if point.quantity in alarms
    ]
    assert {point.quantity for _, point in points} == set(alarms), f"no sensor for {sorted(alarms)}"
    rules = monitor.rules()
    for name, point in points:
        where = f'device="{name}", quantity="{point.quantity}", place="{point.place}"'
        values = monitor.query(f"jinku_room{{{where}}}")
        assert len(values) == 1, f"{where}: no value"
        age = monitor.query(f"time() - timestamp(jinku_room{{{where}}})")
        assert age[0][1] < FRESH_S, f"{where}: {age[0][1]} s old"
        low, high = BOUNDS.get(point.quantity, (0, 0))
        assert low <= values[0][1] <= high, f"{where}: {values[0][1]}"
        for alarm in (alarms[point.quantity], "SensorSilent", "SensorImplausible"):
            assert rules[alarm]["health"] == "ok", f"{alarm}: {rules[alarm].get('lastError')}"
            assert monitor.receivers(alertname=alarm, duty=rules[alarm]["labels"]["duty"]) - {"nobody"}, (
                f"{alarm}: reaches nobody"
            )


def fires(monitor, alarms):
    """The installed rules, fed with the faults of these quantities, fire; and alarms do go out."""
    said = monitor.rule_tests("room")
    assert not said, said
    sent = monitor.delivered()
    assert monitor.ways, "environment.yaml names no way for alarms"
    assert all(sent.get(way, 0) > 0 for way in monitor.ways), f"went out: {sent}"
    for alarm in alarms.values():
        assert 'quantity="' in monitor.rules()[alarm]["query"], f"{alarm} looks at no sensor"


@pytest.mark.control("dengbao:8.1.1.6.c", "iso27001:A.7.5")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_water_is_looked_for(monitor, topology):
    """Each water detector answered within five minutes that it is dry, and its alarm is loaded and has a receiver.

    zh: 各水浸探测器五分钟内上报“干燥”，其告警规则已加载并有接收人。
    """
    judged(monitor, topology, WATER)


@pytest.mark.control("dengbao:8.1.1.6.c", "iso27001:A.7.5")
@pytest.mark.objects("environment")
@pytest.mark.behaviour
def test_a_wet_detector_is_an_alarm(monitor):
    """Fed with "wet", a detector that is silent, and one that says nonsense, the installed rules fire, and alarms go out.

    zh: 输入“有水”、探测器失联及读数异常时，已安装规则均触发，告警通道可送达。
    """
    fires(monitor, WATER)


@pytest.mark.control("dengbao:8.1.1.6.b", "iso27001:A.7.5")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_the_air_is_dry(monitor, topology):
    """Relative humidity, measured within five minutes, is at most 60 percent, far from where water condenses; its alarm is loaded.

    zh: 五分钟内测得相对湿度不超过 60%，远离结露条件，其告警规则已加载。
    """
    judged(monitor, topology, DAMP)


@pytest.mark.control("dengbao:8.1.1.6.b", "iso27001:A.7.5")
@pytest.mark.objects("environment")
@pytest.mark.behaviour
def test_damp_air_is_an_alarm(monitor):
    """Fed with 70 percent the installed rules fire, and alarms go out.

    zh: 输入 70% 湿度时已安装规则触发，告警通道可送达。
    """
    fires(monitor, DAMP)


@pytest.mark.control("dengbao:8.1.1.8", "iso27001:A.7.11")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_temperature_and_humidity_are_in_their_bounds(monitor, topology):
    """Temperature (15 to 27 degrees) and humidity (at most 60 percent) were measured within five minutes; their alarms are loaded.

    zh: 五分钟内测得温度 15–27 摄氏度、湿度不超过 60%，告警规则已加载。
    """
    judged(monitor, topology, AIR)


@pytest.mark.control("dengbao:8.1.1.8", "iso27001:A.7.11")
@pytest.mark.objects("environment")
@pytest.mark.behaviour
def test_heat_is_an_alarm(monitor):
    """Fed with 35 degrees, silence and nonsense, the installed rules fire, and alarms go out.

    zh: 输入 35 摄氏度、失联与异常读数时已安装规则均触发，告警通道可送达。
    """
    fires(monitor, AIR)


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_mains_and_battery_are_watched(monitor, topology):
    """The card of the UPS said within five minutes that mains is there and the battery charged (80 percent); both alarms are loaded.

    zh: UPS 网卡五分钟内上报市电正常、电量不低于 80%，两项告警规则均已加载。
    """
    judged(monitor, topology, POWER)


@pytest.mark.control("dengbao:8.1.1.9.b", "iso27001:A.7.11")
@pytest.mark.objects("environment")
@pytest.mark.behaviour
def test_a_power_failure_is_an_alarm(monitor):
    """Fed with a UPS that runs on battery and a battery at 20 percent, the installed rules fire, and alarms go out.

    zh: 输入“电池供电”与电量 20% 时已安装规则触发，告警通道可送达。
    """
    fires(monitor, POWER)


@pytest.mark.control("iso27001:A.8.24")
@pytest.mark.objects("environment")
@pytest.mark.setting
def test_sensors_are_asked_with_authentication_and_privacy(monitor):
    """The monitor asks by SNMPv3 with authentication by SHA-256 and encryption by AES, under an account that only it may read.

    zh: 监控以 SNMPv3（SHA-256 认证、AES 加密）访问传感器，凭据文件仅监控可读。
    """
    file = monitor.host.file("/etc/jinku/monitor/snmp-auth.yml")
    assert (file.mode, file.user) == (0o600, "prometheus"), f"{oct(file.mode)} {file.user}"
    shown = monitor.host.check_output("grep -vE 'password|username' /etc/jinku/monitor/snmp-auth.yml")
    for line in ("version: 3", "security_level: authPriv", "auth_protocol: SHA256", "priv_protocol: AES"):
        assert line in shown, f"not {line}"


POINTS = "/run/jinku-room"


def _says(quantity, value):
    """Shell that makes the lab's sensor for a quantity say something, and its undoing."""
    find = f"oid=$(awk '$3 == \"{quantity}\" {{print substr($1, 2)}}' /etc/jinku-room.points)"
    return f"{find} && echo '{value}' > {POINTS}/$oid", f"{find} && rm -f {POINTS}/$oid"


_WRONG = [_says("water", "1"), _says("temperature", "none"), _says("humidity", "750"), _says("battery", "60")]

SABOTAGE = (
    Sabotage(
        "water below the floor, a silent thermometer, damp air and a battery that is not charged",
        on="environment",
        where="room",
        breaks=" && ".join(breaks for breaks, _ in _WRONG),
        mends=" && ".join(mends for _, mends in _WRONG),
        kills=(
            "test_water_is_looked_for",
            "test_temperature_and_humidity_are_in_their_bounds",
            "test_the_air_is_dry",
            "test_mains_and_battery_are_watched",
        ),
        settle=20.0,
    ),
    Sabotage(
        "the room's alarms are mute",
        on="environment",
        breaks="sed -i.sabotage 's/} == 1$/} == 9/; s/> 60 <= 100/> 600/; s/> 27 < 80/> 270/; s/< 30 >= 0/< -5/' /etc/prometheus/rules/room.yml"
        " && systemctl reload prometheus",
        mends="mv /etc/prometheus/rules/room.yml.sabotage /etc/prometheus/rules/room.yml && systemctl reload prometheus",
        kills=(
            "test_a_wet_detector_is_an_alarm",
            "test_damp_air_is_an_alarm",
            "test_heat_is_an_alarm",
            "test_a_power_failure_is_an_alarm",
        ),
        settle=2.0,
    ),
    Sabotage(
        "the sensors' account is open to everybody",
        on="environment",
        breaks="chmod 0644 /etc/jinku/monitor/snmp-auth.yml",
        mends="chmod 0600 /etc/jinku/monitor/snmp-auth.yml",
        kills=("test_sensors_are_asked_with_authentication_and_privacy",),
    ),
)
