# SPDX-License-Identifier: Apache-2.0
"""Alarms: each has an owner, words, a runbook and tests; the lab's receiver takes what is encrypted and keeps it."""

import json
import shutil
import smtplib
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import yaml

from jinku.lab_receiver import RECEIVER, RECEIVER_MAIL_PORT, RECEIVER_WEBHOOK_PORT
from jinku.places import CHECKOUT

MONITOR = CHECKOUT / "roles/monitor/files/etc/prometheus"
ALARMS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for file in sorted((MONITOR / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
ADDRESS = "127.77.25.87"  # loopback, and nobody else's


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_has_an_owner_words_and_a_runbook(name: str) -> None:
    rule = ALARMS[name]
    if name != "Watchdog":
        assert rule["labels"]["duty"] in ("system", "audit", "security")
        assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"en", "zh", "runbook"}
    for language in ("en", "zh"):
        page = CHECKOUT / f"docs/runbooks/{rule['annotations']['runbook']}.{language}.md"
        assert f"`{name}`" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ALARMS)
def test_each_alarm_is_tested_by_the_engine(name: str) -> None:
    assert any(f'alertname="{name}"' in file.read_text(encoding="utf-8") for file in (MONITOR / "tests").glob("*.yml"))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is on the monitor; a control test runs this there")
@pytest.mark.parametrize("name", ["hosts", "services", "room"])
def test_the_rules_do_what_their_tests_say(name: str) -> None:
    subprocess.run(["promtool", "test", "rules", f"{name}.yml"], cwd=MONITOR / "tests", check=True)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Path]:
    """The lab's receiver, running on loopback; the folder in which it keeps what it gets."""
    program = [sys.executable, "-m", "stacks.provider.lab.receiver_program", ADDRESS, str(tmp_path)]
    with subprocess.Popen(program, cwd=CHECKOUT) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    smtplib.SMTP(ADDRESS, RECEIVER_MAIL_PORT, timeout=5).quit()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
            yield tmp_path
        finally:
            process.terminate()


def trusting(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "certificate.pem"))
    context.check_hostname = False  # the address is asked by; the name is told apart below
    return context


def kept(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "received.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_receiver_keeps_mail_and_posts(receiver: Path) -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "[Jinku lab] firing: 漏水", "a@lab.internal", "b@lab.internal"
    message.set_content("漏水：地板下")
    with smtplib.SMTP(ADDRESS, RECEIVER_MAIL_PORT, timeout=5) as mail:
        mail.ehlo()
        assert mail.mail("a@lab.internal")[0] >= 500
        mail.starttls(context=trusting(receiver))
        mail.send_message(message)
    post = urllib.request.Request(
        f"https://{ADDRESS}:{RECEIVER_WEBHOOK_PORT}/", data=b'{"alerts": [{"status": "firing"}]}', method="POST"
    )
    urllib.request.urlopen(post, context=trusting(receiver), timeout=5).close()  # noqa: S310 - our own address
    first, second = kept(receiver)
    assert (first["way"], first["subject"], first["to"]) == ("mail", "[Jinku lab] firing: 漏水", ["b@lab.internal"])
    assert "漏水：地板下" in first["text"]
    assert (second["way"], second["alerts"]) == ("webhook", [{"status": "firing"}])
    assert (receiver / "key.pem").stat().st_mode & 0o777 == 0o600
    assert RECEIVER in subprocess.check_output(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", receiver / "certificate.pem"], text=True
    )
