# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin that turns plain testinfra tests into evidence.

A test says which items it proves, on which objects, and from which side::

    @pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
    @pytest.mark.objects("host")
    @pytest.mark.setting                      # or: @pytest.mark.behaviour
    def test_a_password_alone_opens_no_ssh_session(host):
        '''A password typed over SSH would bypass the second factor.

        zh: 仅凭口令不能建立 SSH 会话。
        '''

It then runs once for each object. ``JINKU_ENV`` (name or path, else ``lab``) says which environment.
Tests marked sabotage, browser or fault change something and run only when ``-m`` asks for them.
"""

import os
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

import jinku
from jinku.evidence import fixtures, waiting
from jinku.evidence.again import Again
from jinku.evidence.ahead import Ahead, digest_of
from jinku.evidence.catalogue import Catalogue, CatalogueError, load_catalogue
from jinku.evidence.channel import over_ssh
from jinku.evidence.declared import DeclaredError, load_declared
from jinku.evidence.fleet import CONTROLLER, Fleet, Notebook
from jinku.evidence.objects import CLASSES, objects_of
from jinku.evidence.outcome import titles_of, verdict_of
from jinku.evidence.private import write_private
from jinku.evidence.records import CheckResult, Label, Object, Polarity, Reason, Record, Subject, Substrate, Verdict
from jinku.evidence.verdicts import judge
from jinku.journal import commit
from jinku.model import InputError, Topology, environment_file, load_environment
from jinku.origin import places_of

MARKERS = (
    "control(id, ...): items of the catalogues that the test proves",
    "objects(class, ...): classes of object that it is run on: " + ", ".join(CLASSES),
    "setting: the test looks at an effective setting",
    "behaviour: the test tries it",
    "ahead: a test of behaviour whose questions change nothing and may be asked before it runs",
    "sabotage: breaks the running environment, expects the tests to notice, and mends it",
    "browser: drives a browser through the CRM",
    "fault: makes something fail in the lab",
)
_ON_REQUEST = ("sabotage", "browser", "fault")


class Hooks:
    """Hooks of this plugin, for its own tests."""

    @pytest.hookspec(firstresult=True)
    def pytest_jinku_argv(self, config: pytest.Config, node: str) -> list[str] | None:
        """Command line that opens the channel of ``node``; the default is SSH through the bastion."""


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare :class:`Hooks`."""
    pluginmanager.add_hookspecs(Hooks)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of a check."""
    group = parser.getgroup("jinku")
    group.addoption("--evidence", type=Path, help="write records and verdicts (jinku/check/1) to this JSON file")
    group.addoption("--node", action="append", default=[], help="look at this node only (may be repeated)")
    group.addoption(
        "--read-only", action="store_true", help="look at settings only: leave out every test that tries something"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers and open the session's notebook."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    try:
        check = Check(config)
    except (InputError, CatalogueError, DeclaredError) as error:
        raise pytest.UsageError(str(error)) from error
    config.pluginmanager.register(check, "jinku-check")
    config.pluginmanager.register(Again(check.records, check.notebook, check.fleet), "jinku-again")
    config.stash[fixtures.ENVIRONMENT] = (check.topology, check.places)
    config.pluginmanager.register(fixtures)
    config.pluginmanager.register(fixtures.Fixtures(check.fleet, check.notebook, check.labels), "jinku-fixtures")


class Check:
    """One session: the environment, its objects, the channels, and what was found."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.file = environment_file(os.environ.get("JINKU_ENV", "lab"))
        self.topology = Topology.of(load_environment(self.file))
        self.places = places_of(self.topology.env.name, self.file)
        self.catalogue: Catalogue = load_catalogue()
        self.declared = load_declared(self.file.parent, self.catalogue)
        self.objects = objects_of(self.topology)
        self.notebook = Notebook()
        self.fleet = Fleet(lambda node: config.hook.pytest_jinku_argv(config=config, node=node), self.notebook)
        self.records: list[Record] = []
        self.labels: dict[str, Label] = {}
        self.left_out: set[tuple[str, str]] = set()
        self.ahead = Ahead(self.places.state / "asked-before.json", digest_of(config.args))
        self.started = datetime.now(UTC)

    @pytest.hookimpl(trylast=True)
    def pytest_jinku_argv(self, node: str) -> list[str]:
        """Reach a node by the way in that production uses."""
        return over_ssh(self.places.ssh_config, node)

    # -- collection ----------------------------------------------------------------------------------------------

    def pytest_sessionstart(self) -> None:
        """Of a whole check: let the hosts answer what was asked last time while pytest still reads the tests."""
        if not self._whole():
            return
        only = self.config.getoption("--node")
        chosen = [node.name for node in self.topology.nodes if not only or node.name in only]
        self.fleet.open(chosen)
        tests = self.ahead.tests(settings_only=self.config.getoption("read_only"))
        self.ahead.start(self.fleet, tests, chosen if only else {*chosen, CONTROLLER})

    def _whole(self) -> bool:
        """Whether every test of a check is run, of all nodes or of some."""
        option = self.config.option
        some = option.keyword or option.collectonly or any("::" in argument for argument in self.config.args)
        return option.evidence is not None and not some

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a control test once for each object of its class."""
        control = metafunc.definition.get_closest_marker("control")
        if control is None:
            return
        where = metafunc.definition.nodeid
        names = self._checked(metafunc, where, [str(item) for item in control.args])
        only = self.config.getoption("--node")
        mine = [thing for thing in self.objects if thing.object_class in names]
        chosen = [thing for thing in mine if not only or thing.node in only]
        if not any(metafunc.definition.get_closest_marker(name) for name in _ON_REQUEST):
            self.left_out |= {(item, thing.id) for thing in mine if thing not in chosen for item in control.args}
        metafunc.parametrize("subject", chosen, ids=[thing.id for thing in chosen], indirect=True)

    def _checked(self, metafunc: pytest.Metafunc, where: str, items: list[str]) -> tuple[str, ...]:
        """The object classes of a control test, after its marks were found to be whole."""
        for item in items:
            if item not in self.catalogue:
                raise pytest.UsageError(
                    f"{where}: control: {item!r} is in no catalogue; an id such as dengbao:8.1.4.1.d"
                )
        polarities = [name for name in ("setting", "behaviour") if metafunc.definition.get_closest_marker(name)]
        if len(polarities) != 1 or not items:
            raise pytest.UsageError(f"{where}: control: needs ids and one of the marks setting and behaviour")
        objects = metafunc.definition.get_closest_marker("objects")
        if objects is None or not objects.args or not set(objects.args) <= set(CLASSES):
            raise pytest.UsageError(f"{where}: objects: no class or an unknown one; of {', '.join(CLASSES)}")
        return tuple(objects.args)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out what changes the environment, unless ``-m`` asks for it, and with ``--read-only`` whatever tries something."""
        asked_for = str(config.getoption("markexpr"))  # pyproject.toml sets one for all runs, so "none" is no sign
        kept_out = [name for name in _ON_REQUEST if name not in asked_for]
        out = [item for item in items if any(item.get_closest_marker(name) for name in kept_out)]
        if config.getoption("read_only"):
            trials = [item for item in items if item not in out and not _is_setting(item)]
            self.left_out |= {
                (name, thing.id) for item in trials if (thing := subject_of(item)) for name in _items_of(item)
            }
            out += trials
        gone = set(out)
        items[:] = [item for item in items if item not in gone]
        if out:
            config.hook.pytest_deselected(items=out)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Open the channels that the selected tests need, side by side, and ask ahead what modules say they will ask."""
        if self.config.getoption("collectonly"):
            return
        nodes = {node.name for node in self.topology.nodes}
        needed = [thing.node for item in session.items if (thing := subject_of(item)) and thing.node in nodes]
        self.fleet.open(dict.fromkeys(needed))
        if not self.config.getoption("read_only"):  # it may be a deed, whose trace is looked for later
            self._ask_for_modules(session.items, nodes)
        asking = [item.nodeid for item in session.items if asks_only(item)]
        if self._whole() and not (self.config.getoption("--node") or self.config.getoption("read_only")):
            self.ahead.forget_all_but(asking)
        self.ahead.start(self.fleet, asking, {*nodes, CONTROLLER})

    def _ask_for_modules(self, items: list[pytest.Item], nodes: set[str]) -> None:
        """Ask what ``prefetch`` of the tests' modules names for each object on one of ``nodes``, once."""
        asked = set()
        for item in items:
            thing, ahead = subject_of(item), getattr(getattr(item, "module", None), "prefetch", None)
            if thing and ahead and thing.node in nodes and (ahead, thing.id) not in asked:
                asked.add((ahead, thing.id))
                self.fleet.channel(thing.node).prefetch([(command, None) for command in ahead(thing, self.topology)])

    # -- running -------------------------------------------------------------------------------------------------

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """A new page for a new test. Of what stands on a host that does not answer nothing can be said, by whatever way it is tried."""
        self.notebook.turn()
        waiting.begin()
        thing = subject_of(item)
        if thing and thing.node in {node.name for node in self.topology.nodes}:
            self.fleet.channel(thing.node).wait_open()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Make the records of a control test."""
        report = yield
        thing = subject_of(item)
        if thing is not None and (report.when == "call" or (report.when == "setup" and not report.passed)):
            self._accept(item, thing, report, self._record(item, thing, call, report))
        return report

    def _accept(self, item: pytest.Item, thing: Object, report: pytest.TestReport, verdict: Verdict) -> None:
        """Let a finding that is waived for every item of the test end the run as an expected failure.

        The record stays nonconform: a waiver explains a finding, and only pytest's own exit code heeds it.
        """
        names = cast("pytest.Mark", item.get_closest_marker("control")).args
        waivers = [self.declared.waiver(name, thing.id, self.started.date()) for name in names]
        if verdict is Verdict.NONCONFORM and waivers[0] is not None and all(waivers):
            report.outcome = "skipped"
            report.wasxfail = f"waived: {waivers[0].reason}"

    def _record(
        self, item: pytest.Item, thing: Object, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> Verdict:
        if asks_only(item) and report.passed:
            if waiting.waited():
                self.ahead.forget(item.nodeid)
            else:
                seen = [self.notebook.all[name] for name in self.notebook.page]
                self.ahead.learn(self.fleet, item.nodeid, seen, setting=_is_setting(item))
        verdict, reason = verdict_of(call, report)
        if verdict is Verdict.CONFORM and not self.notebook.page:
            verdict = Verdict.NOT_TESTED
            reason = Reason(code="unobserved", text="the test passed, but nothing was asked or tried in it")
        title_en, title_zh = titles_of(item)
        polarity: Polarity = "setting" if _is_setting(item) else "behaviour"
        for name in _items_of(item):
            self.records.append(
                Record(
                    item=name,
                    object=thing.id,
                    polarity=polarity,
                    verdict=verdict,
                    reason=reason,
                    test=item.nodeid.partition("[")[0],
                    title_en=title_en,
                    title_zh=title_zh,
                    substrate=self._substrate(thing),
                    observations=self.notebook.page,
                    started=datetime.fromtimestamp(call.start, UTC),
                    ended=datetime.fromtimestamp(call.stop, UTC),
                )
            )
        return verdict

    def pytest_sessionfinish(self) -> None:
        """Close the channels; judge, and write the document."""
        target: Path | None = self.config.getoption("--evidence")
        if target is not None and not self.config.getoption("collectonly"):
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(target, self.result().model_dump_json())
            self.ahead.save()
        self.fleet.close()

    def _substrate(self, thing: Object) -> Substrate:
        """What the host says; the lab's routers are namespaces and its machine room a program: nobody should take them for real."""
        if self.topology.env.backend == "lab" and (thing.object_class == "environment" or not thing.zone):
            return "simulated"
        return self.fleet.substrate(thing.node)

    def result(self) -> CheckResult:
        """Everything found so far, judged."""
        env = self.topology.env
        objects = tuple(thing.model_copy(update={"substrate": self._substrate(thing)}) for thing in self.objects)
        pairs, items = judge(
            self.catalogue, env.level, objects, self.records, self.declared, self.started.date(), self.left_out
        )
        used = {name for record in self.records for name in record.observations}
        if env.backend == "lab":
            self.labels.setdefault(
                "lab",
                Label(
                    en="Lab on one machine: hosts are containers, the outside world is simulated.",
                    zh="单机实验环境：主机为容器，外部网络为模拟。",
                ),
            )
        if env.backend == "existing":
            self.labels.setdefault(
                "existing",
                Label(
                    en="Existing hosts: the sites' routers are the network team's; what speaks of them is not tested here.",
                    zh="已有主机：站点路由器归网络团队管理，与其有关的要求项在此未测试。",
                ),
            )
        return CheckResult(
            environment=Subject(
                name=env.name, level=env.level, profile=env.profile, backend=env.backend, timezone=env.timezone
            ),
            jinku_version=jinku.__version__,
            commit=commit(),
            started=self.started,
            ended=datetime.now(UTC),
            labels=tuple(self.labels.values()),
            unreachable=self.fleet.unreachable(),
            only=tuple(self.config.getoption("--node")),
            read_only=self.config.getoption("read_only"),
            objects=objects,
            observations=tuple(seen for name, seen in self.notebook.all.items() if name in used),
            records=tuple(self.records),
            verdicts=pairs,
            items=items,
        )


def subject_of(item: pytest.Item) -> Object | None:
    """The object that a collected test is run on; ``None`` for a test that is no evidence."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("subject") if callspec else None
    return found if isinstance(found, Object) else None


def _items_of(item: pytest.Item) -> tuple[str, ...]:
    """The catalogue's ids that a control test proves."""
    return cast("pytest.Mark", item.get_closest_marker("control")).args


def asks_only(item: pytest.Item) -> bool:
    """Whether a test changes nothing, so that its questions may be asked before it runs."""
    return _is_setting(item) or item.get_closest_marker("ahead") is not None


def _is_setting(item: pytest.Item) -> bool:
    return item.get_closest_marker("setting") is not None
