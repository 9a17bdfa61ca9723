# SPDX-License-Identifier: Apache-2.0
"""What a host says of its packages, and what it does with them (hardening/updates, `jinku-updates`), on a made-up /proc and root."""

import importlib.util
import json
import os
from importlib.machinery import SourceFileLoader

import pytest

from jinku import updates
from jinku.places import CHECKOUT

ROLE = CHECKOUT / "hardening/updates"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """jinku-updates, on a host below ``tmp_path``."""
    monkeypatch.setenv("JINKU_PROC", str(tmp_path / "proc"))
    monkeypatch.setenv("JINKU_ROOT", str(tmp_path))
    loader = SourceFileLoader("jinku_updates", str(ROLE / "files/usr/local/sbin/jinku-updates"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    loader.exec_module(module)
    return module


SIMULATED = """\
Reading package lists...
The following packages have been kept back:
  held
Inst libssl3t64 [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64]) []
Inst libgcrypt20 [1.11.0-7] (1.11.0-7+b1 Debian:13.2/stable, Debian-Security:13/stable-security [amd64])
Inst tzdata [2025b-4] (2025b-4+deb13u1 Debian:13.2/stable-updates [all])
Inst linux-image-6.12.57+deb13-amd64 (6.12.57-1 Debian:13.2/stable [amd64])
Conf libssl3t64 (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
"""


def test_what_apt_says_is_understood(program):
    told = [tuple(one.values()) for one in program.parsed(SIMULATED)]
    assert told == [
        ("libssl3t64", "3.5.1-1", "3.5.1-1+deb13u1", True),
        ("libgcrypt20", "1.11.0-7", "1.11.0-7+b1", True),
        ("tzdata", "2025b-4", "2025b-4+deb13u1", False),
        ("linux-image-6.12.57+deb13-amd64", "", "6.12.57-1", False),
    ]
    assert program.parsed("Reading package lists...\n0 upgraded, 0 newly installed.\n") == []


def test_what_dpkg_did_not_finish_is_named(program):
    assert program.unfinished("ii |a\nrc |gone\niF |broken:amd64\niU |unpacked\nhi |held\niHR|worse\n") == [
        "broken:amd64", "unpacked", "worse",
    ]  # fmt: skip


OLD = "7f00-7f01 r-xp 00002000 00:158 1000 /usr/lib/x86_64-linux-gnu/libssl.so.3 (deleted)\n"


def test_a_program_is_old_whose_file_has_gone(program):
    assert program.is_old(OLD, started=10, newest=0)
    assert not program.is_old(OLD.replace(" (deleted)", ""), started=10, newest=20)
    assert not program.is_old(OLD.replace("r-xp", "r--p"), started=10, newest=0), "what is only read is data"
    assert not program.is_old(OLD.replace("/usr/lib", "/memfd:x"), started=10, newest=0)


def test_a_python_program_is_old_that_began_before_a_module_came(program):
    python = "7f00-7f01 r-xp 00002000 00:158 1000 /usr/lib/x86_64-linux-gnu/libpython3.13.so.1.0\n"
    assert program.is_old(python, started=10, newest=20)
    assert not program.is_old(python, started=30, newest=20)


def test_only_packages_with_python_modules_count(program, tmp_path):
    info = tmp_path / "var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info / "netbase.list").write_text("/.\n/etc/services\n")
    assert program.newest_module() == 0
    (info / "python3-werkzeug.list").write_text("/.\n/usr/lib/python3/dist-packages/werkzeug/__init__.py\n")
    assert program.newest_module() == (info / "python3-werkzeug.list").stat().st_ctime


@pytest.mark.parametrize(
    ("process", "group", "unit"),
    [
        ("70", "0::/system.slice/ssh.service\n", "ssh.service"),
        ("71", "0::/system.slice/system-postgresql.slice/postgresql@17-main.service", "postgresql@17-main.service"),
        ("72", "0::/user.slice/user-1000.slice/session-3.scope", ""),
        ("73", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", ""),
        ("1", "0::/init.scope", "init"),
    ],
)
def test_what_can_be_restarted_is_a_service(program, process, group, unit):
    assert program.unit_of(process, group) == unit


def process(root, number, unit, maps, ticks=1000):
    folder = root / "proc" / str(number)
    folder.mkdir(parents=True)
    (folder / "cgroup").write_text(f"0::/system.slice/{unit}\n")
    (folder / "stat").write_text(f"{number} (a) name) S " + " ".join(["0"] * 18) + f" {ticks} 0 0\n")
    (folder / "maps").write_text(maps)
    (root / "proc/stat").write_text("cpu 1 2\nbtime 1000\n")


def test_units_that_run_old_code_are_found_and_some_need_a_restart_of_the_machine(program, tmp_path):
    process(tmp_path, 70, "ssh.service", OLD)
    process(tmp_path, 71, "dbus.service", OLD)
    process(tmp_path, 72, "cron.service", OLD.replace(" (deleted)", ""))
    assert program.old_units() == ["dbus.service", "ssh.service"]
    assert program.reasons(program.old_units()) == ["dbus.service runs the code from before"]


def test_a_newer_kernel_and_a_package_that_asks_are_reasons(program, tmp_path):
    (tmp_path / "boot").mkdir()
    (tmp_path / f"boot/vmlinuz-{os.uname().release}").touch()
    assert program.reasons([]) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run/reboot-required").touch()
    assert "asks for it" in program.reasons([])[0]
    (tmp_path / "boot/vmlinuz-99.10.1").touch()
    (tmp_path / "boot/vmlinuz-99.9.1").touch()
    assert program.reasons([]) == [f"kernel 99.10.1 is installed, {os.uname().release} runs"]


@pytest.fixture
def said(program, monkeypatch):
    """Commands of the program, and what each gives: text, or an error. Key: a word of it."""
    ran, gives = [], {"--simulate": SIMULATED}

    def command(*words):
        ran.append(" ".join(words))
        result = next((gives[word] for word in reversed(words) if word in gives), "")
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr(program, "run", command)
    monkeypatch.setattr(program, "old_units", lambda: ["init", "ssh.service", "dbus.service"])
    return ran, gives


def test_the_document_is_what_the_controller_reads(program, said, tmp_path, capsys):
    (tmp_path / "var/lib/jinku").mkdir(parents=True)
    assert program.main(["begin"]) == 0
    assert program.main(["look"]) == 0
    told = updates.parse("db1", capsys.readouterr().out)
    assert told.error == ""
    assert told.packages[0] == updates.Package("libssl3t64", "3.5.1-1", "3.5.1-1+deb13u1", security=True)
    assert (told.restart, told.reboot) == (("init", "ssh.service"), ("dbus.service runs the code from before",))
    assert told.unsettled
    assert any("logger" in line and "libssl3t64: 3.5.1-1, will be" in line for line in said[0])


def test_what_is_on_hold_is_told_with_all_that_it_keeps_back(program, said, capsys):
    """Also what is not on hold itself, and waits for what is."""
    ran, gives = said
    gives["showhold"] = "tzdata\nlibssl3t64\n"
    waits = "Inst {0} [3.5.1-1] (3.5.1-2 Debian-Security:13/stable-security [amd64])\n"
    gives["--ignore-hold"] = SIMULATED + waits.format("libssl3") + waits.format("libssl-dev")
    assert program.main(["waiting"]) == 0
    told = updates.parse("db1", capsys.readouterr().out)
    assert told.held == ("libssl3t64", "tzdata")
    assert [str(one) for one in told.kept] == ["libssl3 3.5.1-1 -> 3.5.1-2", "libssl-dev 3.5.1-1 -> 3.5.1-2"]
    assert all(one.security for one in told.kept)
    assert len(told.packages) == 4
    assert ran.count("apt-mark showhold") == 1


def test_where_nothing_is_on_hold_apt_is_not_asked_again(program, said, capsys):
    assert program.main(["waiting"]) == 0
    told = updates.parse("db1", capsys.readouterr().out)
    assert (told.held, told.kept) == ((), ())
    assert not any("--ignore-hold" in line for line in said[0])


@pytest.mark.usefixtures("said")
def test_a_host_with_the_program_of_an_older_jinku_is_understood(program, capsys):
    assert program.main(["waiting"]) == 0
    told = json.loads(capsys.readouterr().out)
    del told["held"], told["kept"]
    assert updates.parse("db1", json.dumps(told)).error == ""


def test_restart_leaves_what_cannot_be_restarted(program, said, capsys):
    assert program.main(["restart"]) == 0
    assert said[0] == ["systemctl daemon-reexec", "systemctl restart -- ssh.service"]
    assert "restarted init ssh.service" in capsys.readouterr().out


def test_a_new_host_is_brought_up_to_date_once(program, said, tmp_path, capsys):
    ran, gives = said
    assert program.main(["fresh"]) == 0
    assert "upgraded 4" in capsys.readouterr().out
    assert any("update" in line for line in ran)
    assert any("--force-confold" in line and "--with-new-pkgs" in line for line in ran)
    gives["update"] = program.Failed("E: no mirror")
    assert program.main(["fresh"]) == 0, "a mirror that is away stops no recovery"
    assert "not brought up to date" in capsys.readouterr().out
    (tmp_path / "var/lib/aide").mkdir(parents=True)
    (tmp_path / "var/lib/aide/jinku.db").touch()
    ran.clear()
    assert program.main(["fresh"]) == 0
    assert ran == []


def test_a_new_host_of_an_image_that_had_all_its_lists_offer_asks_no_apt_for_a_day(program, said, tmp_path, capsys):
    paths = [tmp_path / path for path in (program.LISTS, program.STATUS, program.NEWEST)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    lists, status, note = paths
    lists.mkdir()
    status.touch()
    note.touch()
    assert program.main(["fresh"]) == 0
    assert (said[0], "is up to date" in capsys.readouterr().out) == ([], True)
    # A package that came since, lists that came since, lists of yesterday: each is a reason to ask.
    later = note.stat().st_mtime + 1
    for path, when in ((status, later), (lists, later), (lists, later - program.DAY_SECONDS - 60)):
        before = path.stat().st_mtime
        os.utime(path, (when, when))
        assert program.main(["fresh"]) == 0
        assert any("--simulate" in line for line in said[0])
        said[0].clear()
        os.utime(path, (before, before))


def test_the_nightly_upgrade_is_no_alarm_and_what_differed_before_stays_one(program, said, tmp_path):
    ran, gives = said
    mark, base = tmp_path / "var/lib/jinku/changed", tmp_path / "var/lib/aide/jinku.db"
    mark.parent.mkdir(parents=True)
    assert program.main(["nightly"]) == 0, "nothing is settled yet"
    base.parent.mkdir(parents=True)
    base.touch()
    gives["check"] = program.Failed("aide: 4")
    assert program.main(["nightly"]) == 1
    assert program.main(["settle"]) == 0
    assert not mark.exists()
    assert not [line for line in ran if "jinku-integrity settle" in line]
    del gives["check"]
    assert program.main(["nightly"]) == 0
    assert program.main(["settle"]) == 0
    assert [line for line in ran if "jinku-integrity settle" in line]
    mark.unlink()
    gives["--simulate"] = ""
    assert program.main(["nightly"]) == 0
    assert not mark.exists()


def test_lists_that_cannot_be_fetched_are_an_error_of_look(program, said, capsys):
    said[1]["update"] = program.Failed("E: no mirror")
    assert program.main(["look"]) == 1
    assert "no mirror" in capsys.readouterr().err
    assert program.main(["erase"]) == 1
