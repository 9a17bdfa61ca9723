# SPDX-License-Identifier: Apache-2.0
"""Sections of environment.yaml: where alarms go, what the machine room measures, and its power."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from jinku.model.fields import (
    Address4,
    Address6,
    Domain,
    Duty,
    KeyFile,
    Mailbox,
    Name,
    Oid,
    Port,
    Section,
    SiteName,
    UpsName,
    UrlPath,
)


class AlertMail(Section):
    """The relay that takes alarms as mail, by STARTTLS."""

    address: Address4 | Address6
    """Address of the relay."""
    port: Port = 587
    """Port of the relay; it must offer STARTTLS."""
    name: Domain
    """Name in the relay's certificate."""
    sender: Mailbox
    """Whom the mail is from."""
    to: dict[Duty, Annotated[tuple[Mailbox, ...], Field(min_length=1)]]
    """Mailboxes of each duty; an alarm goes to the duty that owns it."""


class AlertWebhook(Section):
    """An HTTPS service that takes every alarm, as Alertmanager's JSON."""

    address: Address4 | Address6
    """Address of the service."""
    port: Port = 443
    """Port of the service."""
    name: Domain
    """Name in its certificate."""
    path: UrlPath = "/"
    """Path of the URL. It is no place for a secret."""


class Alerts(Section):
    """Where alarms go. The backend `lab` has a receiver of its own."""

    mail: AlertMail | None = None
    """The mail relay."""
    webhook: AlertWebhook | None = None
    """The webhook."""
    authority: KeyFile | None = None
    """PEM file on this machine with the authority of their certificates; absent: those that Debian trusts."""


class Point(Section):
    """One thing that a sensor measures, by SNMP."""

    quantity: Literal["temperature", "humidity", "water", "smoke", "door", "mains", "battery"]
    """temperature in degrees Celsius, humidity and battery in percent; the others are a state, fine or not."""
    place: Name
    """What people call the spot."""
    oid: Oid
    """Object identifier of the value, in digits, with the instance."""
    scale: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """What the value is multiplied with; 0.1 where a device counts tenths."""
    fine: Annotated[int, Field(ge=-1000, le=1000, strict=True)] = 0
    """Value of a state while all is well: dry, no smoke, shut, mains there."""
    alarm: Annotated[int, Field(ge=-1000, le=1000, strict=True)] = 1
    """Value of a state when it is not. Any other value is taken for nonsense, which is an alarm, too."""

    @model_validator(mode="after")
    def _states_differ(self) -> Self:
        if self.fine == self.alarm:
            raise ValueError(f"fine and alarm are both {self.fine}; two values that differ")
        return self


class RoomDevice(Section):
    """A device of the machine room that speaks SNMPv3: a sensor head, or the card of a UPS."""

    address: Address4
    """Its address."""
    points: Annotated[tuple[Point, ...], Field(min_length=1)]
    """What it measures."""


class Ups(Section):
    """The `upsd` (Network UPS Tools) that tells the hosts of a site how their UPS is."""

    unit: UpsName = "ups"
    """Name of the UPS there (`upsc -l`)."""
    address: Address4
    """Address of the machine that it runs on: the one that the UPS is plugged into, or its network card."""
    port: Port = 3493
    """Its port; it must offer TLS (STARTTLS)."""
    name: Domain
    """Name in its certificate."""
    authority: KeyFile | None = None
    """PEM file on this machine with the authority of its certificate; absent: the environment's own."""


class Room(Section):
    """The machine room. The backend `lab` simulates one."""

    devices: dict[Name, RoomDevice] = {}
    """Devices by name; the monitor asks them by SNMPv3 (authPriv, SHA-256 and AES)."""
    ups: dict[SiteName, Ups] = {}
    """The UPS of each site, by the site's name; its hosts stop in order when its battery is low."""
    stop_step_seconds: Annotated[int, Field(ge=5, le=300)] = 15
    """Seconds between one stage of that stop and the next; from "battery low" on the battery must last for seven of them."""
