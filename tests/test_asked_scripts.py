# SPDX-License-Identifier: Apache-2.0
"""A script that a control test runs on a host takes along what it shares with others, in the same question."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jinku.places import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "compliance_tests"))
import asking


@pytest.fixture
def said(tmp_path, monkeypatch):
    """Runs a script of a folder as a host does, from standard input and far from that folder: the finished process."""
    monkeypatch.setattr(asking, "ASKED", tmp_path)
    asking._script.cache_clear()

    def run(shared, script):
        (tmp_path / "shared_one.py").write_text(shared)
        (tmp_path / "one.py").write_text(script)
        command = ["python3", "-IS", "-", "word"]
        return subprocess.run(
            command, input=asking._script("one.py"), text=True, capture_output=True, cwd="/", check=False
        )

    yield run
    asking._script.cache_clear()


def test_a_script_has_what_it_imports_from_the_file_beside_it(said):
    done = said(
        'import os\nQUOTED = "\'{}\\n" + os.sep\ndef twice(x):\n    return 2 * x\n',
        "import sys\nfrom shared_one import QUOTED, twice\nprint(twice(sys.argv[1]) + repr(QUOTED))\n",
    )
    assert (done.returncode, done.stdout) == (0, "wordword" + repr("'{}\n/") + "\n"), done.stderr


def test_an_error_in_a_shared_file_names_that_file(said):
    done = said("def broken():\n    raise ValueError('no')\n", "from shared_one import broken\nbroken()\n")
    assert done.returncode == 1
    assert 'File "shared_one.py", line 2, in broken' in done.stderr


def test_a_script_that_imports_nothing_of_ours_goes_as_it_is(said):
    assert said("", "from sys import argv\nprint(argv[1])\n").stdout == "word\n"
    assert asking._script("one.py") == "from sys import argv\nprint(argv[1])\n"


def test_files_that_lend_rights_are_looked_for_on_every_file_system_that_lets_them():
    """Only the root was walked: a shell with root's rights on a volume was found by nothing."""
    text = (CHECKOUT / "compliance_tests/asked/lent_rights.py").read_text(encoding="utf-8")
    program = {"__name__": "lent_rights"}
    exec(compile(text, "lent_rights.py", "exec"), program)  # noqa: S102 - as a host runs it: no module of ours is there
    told = [
        "1 0 0:40 / / rw,relatime - overlay db1 rw,lowerdir=x",
        "2 1 0:41 / /proc rw - proc proc rw",
        "3 1 0:42 / /run rw,nosuid,nodev shared:5 - tmpfs tmpfs rw",
        "4 1 0:40 /etc/x /etc/y rw - overlay db1 rw",
        "5 1 7:0 / /var/lib/postgresql rw,relatime shared:9 - ext4 /dev/loop0 rw",
        "6 3 7:0 / /run/jinku/volumes/data rw,relatime - ext4 /dev/loop0 rw",
        "7 5 7:0 /content /var/lib/postgresql rw,relatime - ext4 /dev/loop0 rw",
        r"8 1 7:1 /part /srv/a\040b rw - ext4 /dev/loop1 rw",
        "9 1 7:2 / /var/log/remote rw,nosuid - ext4 /dev/loop2 rw",
    ]
    assert program["places"](told) == ["/", "/run/jinku/volumes/data", "/srv/a b"]


def test_a_home_that_others_write_lets_them_act_as_its_owner(tmp_path, monkeypatch):
    text = (CHECKOUT / "compliance_tests/asked/lent_rights.py").read_text(encoding="utf-8")
    program = {"__name__": "lent_rights"}
    exec(compile(text, "lent_rights.py", "exec"), program)  # noqa: S102 - as a host runs it: no module of ours is there
    (tmp_path / "home").mkdir(mode=0o750)
    (tmp_path / "home/.bashrc").touch(mode=0o644)
    monkeypatch.setitem(program, "PEOPLE", range(os.getuid(), os.getuid() + 1))
    owner = SimpleNamespace(pw_uid=os.getuid(), pw_dir=str(tmp_path / "home"))
    service = SimpleNamespace(pw_uid=100, pw_dir="/tmp")  # everybody writes there, and it is nobody's home
    found = program["written_by_others"]
    assert list(found([owner, service])) == []
    (tmp_path / "home/.bashrc").chmod(0o666)
    (tmp_path / "home").chmod(0o770)
    assert {f"{tmp_path}/home", f"{tmp_path}/home/.bashrc"} <= set(map(str, found([owner, service])))
