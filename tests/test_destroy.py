# SPDX-License-Identifier: Apache-2.0
"""What `destroy` says, what it keeps, and that it never says done while a key is left. Pulumi and the sweep are stood in for."""

import io
import shutil

import pytest
import yaml

from jinku import cli
from jinku.cli.exit_codes import ExitCode
from jinku.places import CHECKOUT, Places


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An environment that is up, as far as its state folder tells."""
    monkeypatch.setenv("JINKU_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr("jinku.cli.sites.run", lambda *_words: [])
    monkeypatch.setattr("jinku.cli.destroy._sweep", lambda *_words: [])
    monkeypatch.setattr("jinku.ssh_access.close", lambda *_words: None)
    made = tmp_path / "mine"

    def make(backend, **keys):
        shutil.copytree(CHECKOUT / "inventories" / {"lab": "lab", "existing": "small"}[backend], made)
        file = made / "environment.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"name": "mine"} | keys, allow_unicode=True))
        places = Places("mine")
        places.make()
        for path in (places.ssh_config, places.automation_key, places.pki / "root.key", places.vault / "recovery.json"):
            path.write_text("here")
        (places.state / "pulumi.passphrase").write_text("here")
        return made, places

    return make


def destroy(folder, *words):
    with pytest.raises(SystemExit) as ended:
        cli.main(["destroy", *words, "--env", str(folder)])
    return ended.value.code


def test_a_lab_leaves_no_key_behind(folder):
    made, places = folder("lab")
    assert destroy(made, "--yes") == ExitCode.OK
    assert sorted(path.name for path in places.state.iterdir()) == ["journal.jsonl", "lock", "reports"]


@pytest.mark.parametrize("kept", ["vault", "pki", "ssh"])
def test_a_key_that_cannot_be_removed_is_told(folder, monkeypatch, capsys, kept):
    made, places = folder("lab")
    real = shutil.rmtree

    def stubborn(path, **more):
        if path != getattr(places, kept):
            real(path, **more)

    monkeypatch.setattr(shutil, "rmtree", stubborn)
    assert destroy(made, "--yes") == ExitCode.FAILED
    assert f"not all is gone: {getattr(places, kept)} (still there)" in capsys.readouterr().err
    assert '"ok": false' in places.journal.read_text().splitlines()[-1]
    assert not places.pulumi.exists()


@pytest.mark.parametrize("disposable", [True, False])
def test_hosts_of_their_owner_stay_with_the_keys_to_their_data(folder, monkeypatch, capsys, disposable):
    made, places = folder("existing", disposable=disposable)
    monkeypatch.setattr("sys.stdin", io.StringIO("mine\n"))
    assert destroy(made) == ExitCode.OK
    said = capsys.readouterr().out
    assert "the hosts and their data stay as they are" in said
    assert "removes all" not in said
    assert "kept: db1 (10.20.0.68): runs on, hardened, with postgres; data in /var/lib/postgresql" in said
    assert "the account automation stays on each of them" in said
    assert (places.vault / "recovery.json").exists()
    assert places.automation_key.exists()


def test_hosts_that_were_given_up_are_not_taken_for_up(folder, capsys):
    made, _places = folder("existing")
    assert destroy(made, "--yes") == ExitCode.OK
    with pytest.raises(SystemExit) as ended:
        cli.main(["status", "--env", str(made)])
    assert ended.value.code == ExitCode.PREREQUISITE
    assert "is not up" in capsys.readouterr().err
