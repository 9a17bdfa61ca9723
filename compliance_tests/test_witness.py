# SPDX-License-Identifier: Apache-2.0
"""The witness of the logs: what proves that they were not shortened or rewritten lies on another host, at another site."""

import json
from pathlib import Path

import pytest
from test_log import FOLDER, KEPT_DAYS

from jinku.evidence.sabotage import Sabotage
from jinku.evidence.waiting import trials

KEPT = "/var/lib/jinku-witness"
#: Between two seals nothing is proven yet; more than a few minutes of that is too long to change logs unseen.
SILENT_SECONDS = 300
#: Recordings that are old enough to be sealed. Those from before recordings were sealed stay without.
_RECORDED = "-name timing -mmin +5 -mmin -1440"
SCRIPT = Path(__file__).with_name("asked") / "sealed_files.py"


@pytest.fixture
def witness(fleet, topology, subject):
    """Host of a witness that is neither the log host nor at its site."""
    log = topology.node(subject.node)
    found = [node for node in topology.nodes_of("witness") if node.site != log.site]
    assert found, "no host at another site witnesses the logs"
    return fleet.host(found[0].name)


@pytest.fixture
def seals(witness, topology, subject):
    """What was sealed of each file of the log host, and the number of the trial that found them.

    Just after `up` the newest host's first line waits for the next seal, 90 s at most.
    """
    found = {}
    for trial in trials(f"a seal of every host on {subject.node}"):
        found = json.loads(witness.check_output(f": {trial}; jinku-witness sealed {KEPT} {subject.node}"))
        if {node.name for node in topology.nodes} <= _senders(found):
            break
    return found, trial


def _senders(seals):
    return {path.partition("/")[0] for path in seals}


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.3.5.c", "iso27001:A.8.15", "iso27001:A.5.33")
@pytest.mark.objects("log")
@pytest.mark.setting
def test_seals_of_the_logs_are_kept_at_another_site(seals, witness, topology):
    """The witness has a fresh, unbroken chain of seals from the log host, on a volume of its own, and nobody but root writes there.

    zh: 另一站点的见证主机持有日志主机新近且连续的摘要链，位于独立卷，仅 root 可写。
    """
    found, trial = seals
    judged = witness.run(f": {trial}; jinku-witness check {KEPT} {SILENT_SECONDS}")
    assert judged.rc == 0, judged.stderr.strip()
    missing = {node.name for node in topology.nodes} - _senders(found)
    assert not missing, f"hosts without a seal: {sorted(missing)}"
    assert set(witness.check_output(f"findmnt -n -o TARGET --target {KEPT}").split()) == {KEPT}, "not on a volume"
    writable = witness.check_output(f"find {KEPT} -xdev -not -user root -print -o -perm /022 -print")
    assert not writable, f"others may write {writable}"
    assert witness.check_output("systemctl is-active jinku-witness.timer") == "active"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.3.5.c", "iso27001:A.8.15", "iso27001:A.5.33")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_the_log_files_hold_what_was_sealed(host, seals):
    """Each received file, and each recording of a session, still begins with exactly what the witness was told; none that must be kept is gone.

    zh: 逐一重读已接收的日志文件与会话录像，其内容与见证主机所存摘要一致，应保留的文件均在。
    """
    found, _ = seals
    text = f"SEALED = {found!r}\n{SCRIPT.read_text(encoding='utf-8')}"
    said = host.run(
        f": compliance_tests/asked/{SCRIPT.name}; python3 -IS - {FOLDER} {KEPT_DAYS}", given=text, timeout=120
    )
    assert said.rc == 0, said.stderr
    *changed, count = said.stdout.splitlines()
    assert not changed, "; ".join(changed[:10])
    assert int(count.split()[0]) > 0, "nothing was sealed"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.3.5.c", "iso27001:A.8.15", "iso27001:A.5.33")
@pytest.mark.objects("log")
@pytest.mark.behaviour
def test_each_recording_of_a_session_is_sealed(host, seals):
    """Of each recording of the last day, but the last minutes, the witness was told: one that is changed or removed is found.

    zh: 最近一天的会话录像（除最近数分钟外）均已向见证主机登记摘要，其修改或删除可被发现。
    """
    found, _ = seals
    made = host.check_output(f"find {FOLDER}/sessions -mindepth 5 -maxdepth 5 {_RECORDED}").split()
    unsealed = [path for path in made if path.removeprefix(f"{FOLDER}/") not in found]
    assert not unsealed, f"{len(unsealed)} of {len(made)} recordings are not sealed, such as {unsealed[0]}"


#: One recording that is sealed.
_RECORDING = f"$(dirname $(find {FOLDER}/sessions -mindepth 5 -maxdepth 5 {_RECORDED} | sort | tail -n 1))"
#: The oldest line of a node's file of today, which is sealed and stays where it is.
_FILE = f"{FOLDER}/edge1/$(date +%F).log"
_SEALS = f"{KEPT}/aud1/$(date +%Y-%m).log"
#: A file, or a recording, that needs not be kept any more, for the witness keeps what it was told for good; of another name each time.
_OLD = f"{FOLDER}/edge1/2001-01-01.$(date +%s).log"
_OLD_RECORDING = f"{FOLDER}/sessions/edge1/sabotage/2001-01-01/$(date +%s)"


def _rewritten(file, make):
    """Shell: sealed, changed in its place while nothing seals, and longer when it is sealed anew."""
    return (
        f"f={file}; echo $f > /run/sabotage.path; {make}; seq 1000 > $f; systemctl kill -s USR1 jinku-log-seal.service;"
        f" for i in $(seq 20); do grep -qF $(basename $(dirname $f))/$(basename $f) {FOLDER}/.seal && break; sleep 1; done;"
        " systemctl stop jinku-log-seal.service; printf '#' | dd of=$f bs=1 seek=5 conv=notrunc 2>/dev/null;"
        " echo more >> $f; systemctl start jinku-log-seal.service"
    )


SABOTAGE = (
    Sabotage(
        "a received line is rewritten in its place",
        on="log",
        # Not sealed meanwhile: the witness would keep the contradiction, as it should, and the lab would never conform again.
        breaks=f"systemctl stop jinku-log-seal.service; dd if={_FILE} of=/run/sabotage.byte bs=1 count=1 skip=30 2>/dev/null && printf '#' | dd of={_FILE} bs=1 seek=30 conv=notrunc 2>/dev/null",
        mends=f"dd if=/run/sabotage.byte of={_FILE} bs=1 seek=30 conv=notrunc 2>/dev/null && rm /run/sabotage.byte && systemctl start jinku-log-seal.service",
        kills=("test_the_log_files_hold_what_was_sealed",),
    ),
    Sabotage(
        "a received line is rewritten, and the file grows before the sealer starts again",
        on="log",
        breaks=_rewritten(_OLD, "true"),
        mends="rm $(cat /run/sabotage.path) /run/sabotage.path",
        kills=("test_the_log_files_hold_what_was_sealed",),
        settle=10,
    ),
    Sabotage(
        "a received file is shortened while nothing arrives",
        on="log",
        breaks=f"systemctl stop jinku-log-seal.service rsyslog.service syslog.socket; cp -p {_FILE} /run/sabotage.log && head -c 1000 /run/sabotage.log > {_FILE}",
        mends=f"cat /run/sabotage.log > {_FILE} && rm /run/sabotage.log && systemctl start rsyslog.service jinku-log-seal.service",
        kills=("test_the_log_files_hold_what_was_sealed",),
        settle=1,
    ),
    Sabotage(
        "a recording of a session is changed in its place",
        on="log",
        breaks=f"systemctl stop jinku-log-seal.service; echo {_RECORDING}/log > /run/sabotage.path; f=$(cat /run/sabotage.path);"
        " cp -p $f /run/sabotage.log && printf '#' | dd of=$f bs=1 seek=5 conv=notrunc 2>/dev/null",
        mends="cat /run/sabotage.log > $(cat /run/sabotage.path) && rm /run/sabotage.log /run/sabotage.path && systemctl start jinku-log-seal.service",
        kills=("test_the_log_files_hold_what_was_sealed",),
    ),
    Sabotage(
        "a recording is rewritten, and grows before the sealer starts again",
        on="log",
        breaks=_rewritten(f"{_OLD_RECORDING}/ttyout", "mkdir -p $(dirname $f); echo 4 0.1 9 > $(dirname $f)/timing"),
        mends=f"rm -r {FOLDER}/sessions/edge1/sabotage /run/sabotage.path",
        kills=("test_the_log_files_hold_what_was_sealed",),
        settle=10,
    ),
    Sabotage(
        "a recording of a session is removed",
        on="log",
        breaks=f"echo {_RECORDING} > /run/sabotage.path && mv $(cat /run/sabotage.path) {FOLDER}/.sabotage",
        mends=f"mv {FOLDER}/.sabotage $(cat /run/sabotage.path) && rm /run/sabotage.path",
        kills=("test_the_log_files_hold_what_was_sealed",),
    ),
    Sabotage(
        "a recording is not sealed",
        on="log",
        breaks=f"systemctl stop jinku-log-seal.service; r={_RECORDING}; cp -a $r $(dirname $r)/sabotage && touch -d '10 minutes ago' $(dirname $r)/sabotage/timing",
        mends=f"rm -r {FOLDER}/sessions/*/*/*/sabotage && systemctl start jinku-log-seal.service",
        kills=("test_each_recording_of_a_session_is_sealed",),
    ),
    # In its place: its size and owner stay, so nothing but the chain tells.
    Sabotage(
        "a seal is rewritten at the witness",
        on="log",
        where="aud2",
        breaks=f"dd if={_SEALS} of=/run/sabotage.byte bs=1 count=1 skip=45 2>/dev/null && printf '#' | dd of={_SEALS} bs=1 seek=45 conv=notrunc 2>/dev/null",
        mends=f"dd if=/run/sabotage.byte of={_SEALS} bs=1 seek=45 conv=notrunc 2>/dev/null && rm /run/sabotage.byte"
        " && systemctl start jinku-witness.service",  # its own look may have fallen into the sabotage
        kills=("test_seals_of_the_logs_are_kept_at_another_site",),
    ),
)
