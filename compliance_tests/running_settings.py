# SPDX-License-Identifier: Apache-2.0
"""Whether a service runs with what its files hold: when systemd last had it read them, and when one of them last changed."""

from dataclasses import dataclass
from datetime import UTC, datetime

from asking import by_hand
from testinfra.host import Host

_ASKED = "ActiveState,ReloadResult,NeedDaemonReload,InactiveExitTimestamp,ActiveEnterTimestamp,StateChangeTimestamp"


@dataclass(frozen=True)
class Reader:
    """A program that reads its settings when it starts and, if `reloads`, when it is told to.

    `files`: what it reads then, as a shell writes it; a folder stands for itself and all in it. What it reads anew each time
    (keys of people), and certificates, whose renewals have hooks of their own, are none. `words`: its command line, where it shows that;
    `processes`: whose command line, as `ps` selects them (its main process).
    """

    unit: str
    files: str
    reloads: bool = False
    words: str = ""
    processes: str = ""


def _moment(told: str) -> float:
    return datetime.strptime(told, "%a %Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC).timestamp()


def _read_at(state: dict[str, str], *, reloads: bool) -> float:
    """When a unit last had its program read its settings, Unix seconds.

    Of a start that is its beginning, before the program is there; of a reload its end, when the unit was active again. systemd keeps both
    over a daemon-reload, which the times of the reload's own commands do not outlive.
    """
    reloaded = state["StateChangeTimestamp"] != state["ActiveEnterTimestamp"]
    return _moment(state["StateChangeTimestamp" if reloads and reloaded else "InactiveExitTimestamp"])


def behind_their_files(host: Host, *readers: Reader) -> list[str]:
    """In words, each program that does not run, or runs with other settings, or another command line, than its files hold now.

    A file that was changed, loaded and put back is younger (ctime, which nobody can set) than what was loaded of it. Who puts it
    back and has it loaded again runs with what it holds.
    """
    units = " ".join(reader.unit for reader in readers)
    told = host.check_output(f"systemctl show --timestamp=us+utc -p {_ASKED} {units}").strip().split("\n\n")
    changed = host.check_output(
        "; ".join(
            f"echo newest $(find {reader.files} -printf '%C@ %p\\n' 2>/dev/null | sort -g | tail -n 1); echo"
            f" runs $(ps -ww -o args= {reader.processes or f'-p $(systemctl show -P MainPID {reader.unit})'} | sort -u)"
            for reader in readers
        )
    ).splitlines()
    found = []
    # A word before each, for an empty last line would be none.
    answers = [line.partition(" ")[2] for line in changed]
    for reader, part, newest, words in zip(readers, told, answers[::2], answers[1::2], strict=True):
        state = dict(line.split("=", 1) for line in part.splitlines())
        if state["ActiveState"] not in ("active", "reloading"):
            found.append(f"{reader.unit} is {state['ActiveState']}")
            continue
        when, _, name = newest.partition(" ")
        again = by_hand(host, f"systemctl {'reload' if reader.reloads else 'restart'} {reader.unit}")
        if not when:
            found.append(f"{reader.unit} has no file of its settings any more; `jinku up`")
        elif float(when) > _read_at(state, reloads=reader.reloads):
            found.append(f"{reader.unit} was not told of the last change of {name} ({again})")
        if reader.reloads and state["ReloadResult"] != "success":
            found.append(f"{reader.unit} refused what it was last told to read ({again})")
        if state["NeedDaemonReload"] == "yes":
            found.append(f"{reader.unit} was started by another unit than its files say now")
        if reader.words and words != reader.words:
            found.append(f"{reader.unit} runs with options of its own: {words[:100]}")
    return found
