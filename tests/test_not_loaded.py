# SPDX-License-Identifier: Apache-2.0
"""A program that runs with older settings than its files hold is told with the remedy, whoever reads the report."""

import sys
from types import SimpleNamespace

import pytest

from jinku.places import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "compliance_tests"))
import asking


@pytest.mark.parametrize(("loaded", "stale"), [(1000.5, False), (1000.4, True)])
def test_settings_older_than_their_files_are_told_with_the_remedy(loaded, stale):
    host = SimpleNamespace(
        backend=SimpleNamespace(hostname="db1"),
        check_output=lambda command: "900.25\n1000.5\n" if "/etc/x" in command else "",
    )
    told = asking.not_loaded(host, "postgres", "/etc/x /etc/y", loaded, "systemctl reload postgresql")
    assert bool(told) is stale
    if stale:
        wrong, _, right = told.partition("; ")
        assert "postgres runs with other settings" in wrong
        assert "/etc/x /etc/y" in wrong
        assert "`jinku up`" in right
        assert "`jinku ssh db1 -- sudo systemctl reload postgresql`" in right
