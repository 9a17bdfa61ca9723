# SPDX-License-Identifier: Apache-2.0
"""What a compliance test may ask for."""

from collections.abc import Callable

import pytest
from testinfra.host import Host

from jinku.evidence.fleet import Fleet, Notebook
from jinku.evidence.records import Label, Object
from jinku.model import Topology
from jinku.places import Places

#: The environment that a session of pytest is about.
ENVIRONMENT = pytest.StashKey[tuple[Topology, Places]]()


@pytest.fixture(scope="session")
def topology(pytestconfig: pytest.Config) -> Topology:
    """The environment's topology."""
    return pytestconfig.stash[ENVIRONMENT][0]


@pytest.fixture(scope="session")
def places(pytestconfig: pytest.Config) -> Places:
    """Files of the environment outside the checkout."""
    return pytestconfig.stash[ENVIRONMENT][1]


class Fixtures:
    """The fixtures, over one session's state. Parameters: that state."""

    def __init__(self, fleet: Fleet, notebook: Notebook, labels: dict[str, Label]) -> None:
        self._fleet = fleet
        self._notebook = notebook
        self._labels = labels

    @pytest.fixture
    def fleet(self) -> Fleet:
        """All channels: ``fleet.host("db1")``, ``fleet.host("controller")``."""
        return self._fleet

    @pytest.fixture(autouse=True)
    def subject(self, request: pytest.FixtureRequest) -> Object | None:
        """The object that the running test looks at."""
        return getattr(request, "param", None)

    @pytest.fixture
    def host(self, subject: Object | None) -> Host:
        """Testinfra host of the object's node, as root, over the recording channel."""
        if subject is None:
            raise pytest.UsageError("the fixture host needs the marks control and objects")
        return self._fleet.host(subject.node)

    @pytest.fixture
    def observe(self) -> Callable[..., None]:
        """``observe(where, asked, answered, exit_code)``: record what no channel recorded (``Notebook.observe``)."""
        return self._notebook.observe

    @pytest.fixture
    def label(self) -> Callable[[str, str, str], None]:
        """``label(key, en, zh)``: a remark for the head of the report, such as a lab's shortcut."""

        def keep(key: str, en: str, zh: str) -> None:
            self._labels[key] = Label(en=en, zh=zh)

        return keep
