# SPDX-License-Identifier: Apache-2.0
"""Each alarm, for real: something is broken on the running lab, and the receiver gets mail and webhook. Lab only.

``make test-alarms`` breaks what is quick (CI does); ``pytest tests/drills -m alarms_all`` breaks everything, in a few rounds, and
keeps quiet for a quarter of an hour. The times are printed and kept in <state>/alarms.json.
"""

import json
import os
import time
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest
from alarms import Fault, faults, rounds
from any_lab import received

from jinku.model import Topology, load_environment
from jinku.model.alarms import alerts_of
from jinku.places import Places

ENVIRONMENT = load_environment(os.environ.get("JINKU_ENV", "lab"))
TOPOLOGY = Topology.of(ENVIRONMENT)
PLACES = Places(ENVIRONMENT.name)
LAB = ENVIRONMENT.backend == "lab" and bool(TOPOLOGY.nodes_of("monitor"))
FAULTS = faults(TOPOLOGY, PLACES) if LAB else []
QUIET_SECONDS = int(os.environ.get("JINKU_QUIET_SECONDS", "900"))
MENDED_SECONDS = 240

pytestmark = pytest.mark.skipif(not LAB, reason="only the lab may be broken, and only its receiver asked")
TIMES: list[dict[str, Any]] = []


def matching(fault: Fault, since: float, status: str) -> dict[str, dict[str, Any]]:
    """First arrival of the fault's alarm in that status, by way."""
    first: dict[str, dict[str, Any]] = {}
    for told in received(PLACES, since):
        if told["way"] == "webhook":
            labels = told["labels"]
            wanted = {"alertname": fault.alert, "duty": fault.duty, **fault.mark}
            fits = told["status"] == status and wanted.items() <= labels.items()
        else:
            mailbox = alerts_of(ENVIRONMENT).mail.to[fault.duty][0] if alerts_of(ENVIRONMENT).mail else ""
            words = (f"{key}={value} " for key, value in fault.mark.items())
            fits = (
                mailbox in told["to"]
                and f"{status}: {fault.alert} " in told["subject"]
                and all(word in told["text"] for word in words)
            )
        if fits:
            first.setdefault(told["way"], told)
    return first


def awaited(fault: Fault, since: float, status: str, seconds: float) -> dict[str, dict[str, Any]]:
    """The arrivals by both ways. :raises AssertionError: they did not come in time."""
    deadline = time.monotonic() + seconds
    while len(came := matching(fault, since, status)) < 2:
        assert time.monotonic() < deadline, f"{fault}: {status}: came by {list(came) or 'no way'} within {seconds} s"
        time.sleep(0.5)
    return came


def tried(*faults: Fault) -> None:
    """Break, wait for the alarms by mail and webhook, mend, wait for their end."""
    broken: list[float] = []
    mended = [0.0] * len(faults)

    def mend(number: int) -> None:
        mended[number] = time.time()
        faults[number].mends()

    try:
        for fault in faults:
            broken.append(time.time())
            fault.breaks()
        came = [awaited(fault, begun, "firing", fault.seconds) for fault, begun in zip(faults, broken, strict=True)]
    finally:
        with ExitStack() as every:  # one that cannot be mended leaves none of the others broken
            for number in range(len(broken)):
                every.callback(mend, number)
    for fault, begun, ended, first in zip(faults, broken, mended, came, strict=True):
        keep_times(fault, begun, ended, first, awaited(fault, ended, "resolved", MENDED_SECONDS))


def keep_times(
    fault: Fault, broken: float, mended: float, came: dict[str, dict[str, Any]], over: dict[str, dict[str, Any]]
) -> None:
    """Print and keep how long it took, seconds."""
    fired = datetime.fromisoformat(came["webhook"]["startsAt"]).timestamp()
    line = {
        "alarm": str(fault),
        "broken": broken,
        "fired": round(fired - broken, 1),
        "mail": round(came["mail"]["at"] - broken, 1),
        "webhook": round(came["webhook"]["at"] - broken, 1),
        "over": round(over["webhook"]["at"] - mended, 1),
    }
    TIMES.append(line)
    (PLACES.state / "alarms.json").write_text(json.dumps(TIMES, indent=1), encoding="utf-8")
    print(
        "{alarm}: fired after {fired} s, mail after {mail} s, webhook after {webhook} s; over {over} s after it was mended".format(
            **line
        )
    )


@pytest.mark.alarms
def test_alarms_of_many_faults_at_once_reach_the_duties_that_own_them() -> None:
    tried(*(fault for fault in FAULTS if fault.quick))


@pytest.mark.alarms_all
@pytest.mark.parametrize("together", rounds(FAULTS), ids=lambda together: ", ".join(map(str, together)))
def test_every_alarm_reaches_the_duty_that_owns_it(together: list[Fault]) -> None:
    tried(*together)


@pytest.mark.alarms_all
def test_a_quiet_quarter_of_an_hour_brings_no_alarm() -> None:
    since = time.time()
    time.sleep(QUIET_SECONDS)
    came = [
        told for told in received(PLACES, since) if told["way"] == "mail" or told["labels"]["alertname"] != "Watchdog"
    ]
    assert not [told for told in came if "Watchdog" not in told.get("subject", "")]
