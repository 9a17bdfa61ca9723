# SPDX-License-Identifier: Apache-2.0
"""Clients of the vault, as each operators' duty, by one way over the bastion for all tests of a session."""

import pytest

from jinku.vault import Fleet, operator, through_the_bastion


@pytest.fixture(scope="session")
def _doors():
    """One way to the vault for the session, opened by the first test that needs it."""
    made = {}
    yield made
    for context in made.pop("contexts", []):
        context.__exit__(None, None, None)


@pytest.fixture
def vault(topology, places, _doors):
    """``vault(duty)``: a client logged in with an operator's certificate for ``duty``; ``vault("")``: nobody."""
    contexts = _doors.setdefault("contexts", [])

    def entered(key, make):
        if key not in _doors:
            context = make()
            _doors[key] = context.__enter__()
            contexts.insert(0, context)
        return _doors[key]

    fleet = Fleet.of(topology, places)
    door = entered("door", lambda: through_the_bastion(fleet))

    def client(duty):
        return entered(duty, lambda: operator(fleet, door, duty)) if duty else door.client()

    client.fleet, client.door = fleet, door
    return client
