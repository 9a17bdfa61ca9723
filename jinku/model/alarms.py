# SPDX-License-Identifier: Apache-2.0
"""Where alarms go and what the machine room measures; for the backend ``lab`` its own receiver and simulated devices. Pure."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from jinku.lab_receiver import RECEIVER, RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT
from jinku.model.alarm_sections import AlertMail, Alerts, AlertWebhook, Point, RoomDevice
from jinku.model.environment import Environment

#: Net-SNMP's playpen, where anybody may number what he likes; and the card of a UPS (RFC 1628).
_SENSORS, _UPS = "1.3.6.1.4.1.8072.9999.9999.77", "1.3.6.1.2.1.33.1"


def alerts_of(env: Environment) -> Alerts:
    """Where the alarms of an environment go: what it says, else the lab's receiver, else nowhere."""
    if env.backend != "lab" or env.alerts.mail or env.alerts.webhook:
        return env.alerts
    address = env.lab.wan[1]
    mail = AlertMail(
        address=address,
        port=RECEIVER_MAIL_PORT,
        name=RECEIVER,
        sender=f"jinku@{env.domain}",
        to={
            "system": (f"system@{env.domain}",),
            "audit": (f"audit@{env.domain}",),
            "security": (f"security@{env.domain}",),
        },
    )
    return Alerts(mail=mail, webhook=AlertWebhook(address=address, port=RECEIVER_WEBHOOK_PORT, name=RECEIVER))


class Way(NamedTuple):
    """A place outside that takes alarms; ``name`` is the place's and the service's."""

    name: str
    address: IPv4Address | IPv6Address
    port: int
    en: str
    zh: str


def ways_of(env: Environment) -> Iterator[Way]:
    """The ways by which an environment's alarms go out."""
    alerts = alerts_of(env)
    if alerts.mail:
        yield Way("mail_relay", alerts.mail.address, alerts.mail.port, "alarms go out by mail", "告警邮件外发")
    if alerts.webhook:
        hook = alerts.webhook
        yield Way("alert_webhook", hook.address, hook.port, "alarms go to the webhook", "告警推送到 Webhook")


def room_of(env: Environment, simulated: IPv4Address | None) -> dict[str, RoomDevice]:
    """Devices of the machine room: what the environment says, else, where a node simulates them, the lab's two."""
    if env.room.devices or simulated is None:
        return env.room.devices
    sensors = (
        Point(quantity="temperature", place="cold-aisle", oid=f"{_SENSORS}.1.0", scale=0.1),
        Point(quantity="humidity", place="cold-aisle", oid=f"{_SENSORS}.2.0", scale=0.1),
        Point(quantity="water", place="below-the-floor", oid=f"{_SENSORS}.3.0"),
        Point(quantity="smoke", place="ceiling", oid=f"{_SENSORS}.4.0"),
        Point(quantity="door", place="entrance", oid=f"{_SENSORS}.5.0"),
    )
    # upsOutputSource: 3 normal, 5 battery; upsEstimatedChargeRemaining in percent.
    ups = (
        Point(quantity="mains", place="ups-1", oid=f"{_UPS}.4.1.0", fine=3, alarm=5),
        Point(quantity="battery", place="ups-1", oid=f"{_UPS}.2.4.0"),
    )
    return {
        "sensors-1": RoomDevice(address=simulated, points=sensors),
        "ups-1": RoomDevice(address=simulated, points=ups),
    }
