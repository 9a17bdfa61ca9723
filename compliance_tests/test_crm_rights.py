# SPDX-License-Identifier: Apache-2.0
"""The CRM from inside: what its users may do, what becomes of leavers, what it records, and what the three duties (三员) reach of it."""

import re
import secrets

import pytest
from asking import as_user, people_on
from people_sessions import answers, tried
from sabotage.crm_rights import SABOTAGE
from test_application import attempt, database, of_the_crm, rights  # noqa: F401 - fixtures
from test_audit import RFC3339
from test_database import arrived

__all__ = ["SABOTAGE"]  # what breaks these tests, found here by its runner

TOKEN = secrets.token_hex(6)
AS_THE_CRM = as_user("tryton")
#: What a duty reaches of the CRM on its own host, one answer a line.
REACH = (
    "echo me=$(id -un); echo verbs=$(sudo -n -l /usr/bin/jinku-crm users >/dev/null 2>&1 && echo yes);"
    " echo secret=$(cat /etc/jinku/crm/pgpass 2>/dev/null | head -c 1 | wc -c);"
    " echo records=$(journalctl -q -n 1 -t jinku-crm -o cat --no-pager 2>/dev/null | head -c 1 | wc -c);"
    " echo reads=$(find /var/lib/tryton -readable -print -quit 2>/dev/null);"
    " echo writes=$(find /etc/jinku/crm /var/lib/tryton /usr/lib/jinku /usr/bin/jinku-crm -writable -print -quit 2>/dev/null)"
)


#: What the CRM keeps to itself, and by which attachments go out: whose each is, and who else comes near.
MODES = (
    ("/etc/jinku/crm/pgpass", "tryton:tryton 600"),
    ("/etc/jinku/crm/trytond.conf", "root:tryton 640"),
    ("/usr/bin/jinku-crm", "root:root 755"),
    ("/var/lib/tryton", "tryton:tryton 750"),
    ("/run/jinku-attachments", "root:tryton 660"),
)


def recorder(host):
    """Settings in force of the CRM's service and of the two programs that keep its records."""
    told = host.check_output(
        "systemctl show jinku-crm.service -p StandardOutput,StandardError,SyslogIdentifier,ProtectSystem,ReadWritePaths,"
        "CapabilityBoundingSet,NoNewPrivileges,User,NeedDaemonReload;"
        " systemctl show jinku-crm.service -p Environment --value | tr ' ' '\\n';"
        " systemctl show rsyslog.service -p ActiveState,Restart | sed s/^/rsyslog./;"
        " systemctl show systemd-journald.service -p ActiveState,Restart | sed s/^/journald./"
    )
    return dict(line.split("=", 1) for line in told.splitlines())


@pytest.mark.control("dengbao:8.1.4.2.a", "dengbao:8.1.4.4.d", "iso27001:A.5.15")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_every_user_has_a_group_and_every_record_its_bounds(database):  # noqa: F811 - a fixture
    """Each active user is in a group that rights were given to; the database itself holds every rule on records, and none is switched off.

    zh: 每个有效用户均属于被授权的用户组；数据库强制必填、唯一与引用约束，且均已生效。
    """
    bare = of_the_crm(
        database,
        "select login from res_user u where active and login is not null and not exists (select 1 from"
        ' "res_user-res_group" r join ir_model_access a on a."group" = r."group" and a.active where r."user" = u.id)',
    )
    assert not bare, f"without any right of their own: {bare}"
    wanted = {
        "sale_opportunity": ("company", "state"),
        "sale_sale": ("company", "state", "currency"),
    }
    required = set(
        of_the_crm(
            database,
            "select c.relname || '.' || attname from pg_attribute a join pg_class c on c.oid = attrelid where attnotnull and c.relkind = 'r'",
        )
    )
    unique = of_the_crm(
        database, "select count(*) from pg_constraint where conrelid = 'res_user'::regclass and contype = 'u' -- login"
    )
    assert int(unique[0]) > 0, "a login may stand twice"
    loose = [
        f"{table}.{name}" for table, names in wanted.items() for name in names if f"{table}.{name}" not in required
    ]
    assert not loose, f"may be left empty: {', '.join(loose)}"
    references = of_the_crm(
        database,
        "select count(*) filter (where convalidated), count(*) filter (where not convalidated),"
        " (select count(*) from pg_trigger where tgenabled <> 'O') from pg_constraint"
        " where contype in ('f', 'c') and connamespace = 'public'::regnamespace",
    )
    held, off, asleep = references[0].split("|")
    assert int(held) > 100, f"only {held} rules on records"
    assert off == "0", f"{off} rules on records are not held"
    assert asleep == "0", f"{asleep} of the triggers that hold references are switched off"


@pytest.mark.control("dengbao:8.1.4.2.a", "iso27001:A.5.15", "iso27001:A.8.3")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_users_do_what_their_group_may_and_nothing_else(host):
    """Tried by the CRM's own code: sales makes an order, an administrator a user; neither does the other's, and who has no group neither.

    zh: 以应用自身代码实际尝试（事务回滚）：销售可建订单，管理员可建用户，互不越权；无用户组者均被拒绝，不能自行提权。
    """
    said = rights(host)
    for what in ("sale by sales", "user by admin"):
        assert said[what] == "done", f"{what}: {said[what]}, so a refusal would prove nothing"
    for what in ("sale by nobody", "sale by admin", "user by sales", "more rights by sales", "group by nobody"):
        assert said[what] == "AccessError", f"{what}: {said[what]}"


@pytest.mark.control("dengbao:8.1.4.4.d", "iso27001:A.8.26")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_the_crm_takes_no_record_that_breaks_its_rules(host):
    """Tried by the CRM's own code: a sound lead is taken; out of range, of unknown state, without company, or of a party that is not there, none.

    zh: 以应用自身代码实际尝试（事务回滚）：合法数据可写入；越界、非法选项、缺必填及引用不存在的数据被拒绝。
    """
    said = rights(host)
    assert said["a lead"] == "done", f"a sound lead is refused: {said['a lead']}"
    for what in (
        "a likelihood of 700 %",
        "an unknown state",
        "a party that is not there",
        "no company",
        "a way to reach nobody",
    ):
        assert said[what].endswith(("ValidationError", "ForeignKeyError")), f"{what}: {said[what]}"


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_nothing_is_left_of_a_leaver_s_way_in(database):  # noqa: F811 - a fixture
    """An account that was ended keeps no password, no session and no known device; who has none of their own waits for a first login.

    zh: 已停用账户不保留口令、会话与已知设备。
    """
    left = of_the_crm(
        database,
        "select login from res_user u where not active and login is not null and (password_hash is not null or exists"
        " (select 1 from ir_session s where s.create_uid = u.id) or exists (select 1 from res_user_device d where d.login = u.login))",
    )
    assert not left, f"ended, and still a way in: {left}"


@pytest.mark.control("dengbao:8.1.4.2.c", "dengbao:8.1.8.4.c", "iso27001:A.5.18")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_a_leaver_is_out_at_once(host):
    """Tried by the CRM's own code: staff logs in and works; ended, the same password opens nothing and the open session is over.

    zh: 以应用自身代码实际尝试（事务回滚）：在职用户可登录；停用后口令与已有会话立即失效。
    """
    said = rights(host)
    assert said["login of staff"] == said["session of staff"] == "done", (
        "staff does not get in, so a refusal proves nothing"
    )
    assert said["login of a leaver"] == "refused", "a leaver's password still opens a session"
    assert said["session of a leaver"] == "refused", "a leaver's session goes on"


@pytest.mark.control(
    "dengbao:8.1.4.3.a", "dengbao:8.1.4.3.b", "dengbao:8.1.4.3.c", "dengbao:8.1.4.3.d", "iso27001:A.8.15"
)
@pytest.mark.objects("application")
@pytest.mark.setting
def test_the_crm_records_and_cannot_help_it(host):
    """The running CRM writes every call to the journal; it may write nowhere else than its own volume, gains no right, and the recorders restart by themselves.

    zh: 运行中的应用将每次调用写入系统日志；其仅可写自身数据卷、不能提权；日志进程异常后自动重启。
    """
    told = recorder(host)
    assert 0 < int(told.get("TRYTOND_LOGGING_LEVEL", "99")) <= 20, "calls are not recorded"
    assert told["NeedDaemonReload"] == "no", "it runs with other settings than are told"
    assert told["StandardOutput"] == "journal", f"records go to {told['StandardOutput']}"
    assert told["StandardError"] in ("inherit", "journal"), f"records go to {told['StandardError']}"
    assert told["SyslogIdentifier"] == "jinku-crm"
    assert told["User"] == "tryton"
    assert (told["ProtectSystem"], told["ReadWritePaths"]) == ("strict", ""), "the CRM may write beside its own volume"
    assert (told["NoNewPrivileges"], told["CapabilityBoundingSet"]) == ("yes", ""), "the CRM may gain rights"
    for name in ("rsyslog", "journald"):
        assert told[f"{name}.ActiveState"] == "active", f"{name} does not run"
        assert told[f"{name}.Restart"] in ("always", "on-failure"), f"{name} stays away once it fell"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.b", "iso27001:A.8.15")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_a_refused_login_is_on_record_at_the_log_tier(attempt, subject, fleet, topology):  # noqa: F811 - a fixture
    """A login that was refused is found at the log tier with time, host, user, source, database and result.

    zh: 一次被拒的登录在日志层可查到时间、主机、用户、来源地址、对象与结果。
    """
    name = f"record-{TOKEN}"
    assert attempt(name, "wrong").startswith("refused"), "a guess was taken"
    line = arrived(fleet, topology, subject.node, name)
    assert line, "the refused login is not on record at the log tier"
    when, node, *_ = line.split()
    assert re.fullmatch(RFC3339, when), f"no time with zone: {when}"
    assert node == subject.node, f"the record says that it is from {node}"
    assert f"login failed for '{name}'" in line, "the record does not say who, what and that it failed"
    assert "on database 'crm'" in line, "the record does not name the object"
    source = line.partition(" from '")[2].partition("'")[0]
    assert source, "the record does not name the source"


@pytest.mark.control("dengbao:8.1.4.3.c", "dengbao:8.1.4.3.d", "iso27001:A.5.33")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_the_crm_can_neither_change_its_records_nor_stop_them(host):
    """Tried as the CRM's account: it writes its own volume; no log, no queue of the forwarder, and it can signal neither recorder.

    zh: 以应用账户实际尝试：可写自身数据卷；不能写日志与转发队列，不能向日志进程发送信号。
    """
    # In the service's own view of the file system, for its unit shuts more than its account does.
    said = host.check_output(
        "recorders=$(pidof rsyslogd systemd-journald); nsenter -m -t $(systemctl show jinku-crm.service -p MainPID --value)"
        f" {AS_THE_CRM} sh -c 'test -w /var/lib/tryton && echo own; find /var/log /var/spool/rsyslog /etc/rsyslog.d"
        " /etc/systemd -writable ! -type l -print -quit 2>/dev/null; for one; do echo tried; kill -0 $one 2>/dev/null"
        " && echo signals $one; done; true' sh $recorders"
    ).splitlines()
    assert said[:1] == ["own"], "not even its own volume is its own, so this proves nothing"
    assert said.count("tried") >= 2, "the recorders do not run"
    more = [line for line in said if line not in ("own", "tried")]
    assert not more, f"the CRM reaches {more[0]}"


@pytest.mark.control("dengbao:8.1.5.1.a", "dengbao:8.1.5.2.a", "dengbao:8.1.5.3.a", "iso27001:A.8.2")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_only_the_system_duty_has_the_verbs_of_the_crm(host, topology, subject):
    """Sudo gives the CRM's verbs and its account to system administrators only; its secrets and settings belong to it and to root.

    zh: 仅系统管理员经 sudo 可使用应用管理命令与其账户；应用口令与配置仅属 root 与应用账户。
    """
    for one in people_on(topology, subject.node):
        groups = host.check_output("id -nG %s", one.name).split()
        assert "tryton" not in groups, f"{one.name} is one with the CRM"
        allowed = host.check_output("sudo -l -U %s", one.name)
        rules = [line.strip() for line in allowed.splitlines() if line.strip().startswith("(")]
        over_it = [rule for rule in rules if "ALL" in rule.partition(")")[2] or "jinku-crm" in rule or "tryton" in rule]
        assert bool(over_it) is (one.duty == "system"), f"{one.name} ({one.duty}): {over_it or 'nothing over the CRM'}"
    modes = host.check_output(f"stat -c '%n %U:%G %a' {' '.join(path for path, _ in MODES)}").splitlines()
    odd = [line for line, wanted in zip(modes, MODES, strict=True) if line != " ".join(wanted)]
    assert not odd, f"open to others than it should be: {', '.join(odd)}"


@pytest.mark.control("dengbao:8.1.5.1.a", "dengbao:8.1.5.2.a", "dengbao:8.1.5.3.a", "iso27001:A.8.2")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_each_duty_reaches_of_the_crm_what_is_its_own(people, observe, topology, subject):
    """As each person on the CRM's host, by certificate: system runs its verbs, audit reads its records, security neither; nobody but system changes it.

    zh: 各管理员持证书登录应用主机实际尝试：系统管理员可用管理命令，审计管理员可查应用日志，安全管理员二者皆不可，均不能改动应用。
    """
    here = people_on(topology, subject.node)
    for one in here:
        people.begin(one.name, subject.node, REACH)
    assert {one.duty for one in here} == {"system", "audit", "security"}, "not every duty has a person here"
    for one in here:
        session = tried(people, observe, one.name, subject.node, REACH)
        said = answers(session)
        assert session.code == 0, f"{one.name} has no session: {session.err.strip()[-300:]}"
        assert said["me"] == one.name
        assert (said["verbs"] == "yes") is (one.duty == "system"), f"{one.name} ({one.duty}): verbs {said['verbs']!r}"
        assert said["secret"] == "0", f"{one.name} reads the CRM's password"
        assert not said["reads"], f"{one.name} reads {said['reads']}, where attachments lie"
        assert not said["writes"], f"{one.name} may write {said['writes']}"
        if one.duty != "system":
            assert (said["records"] == "1") is (one.duty == "audit"), (
                f"{one.name} ({one.duty}): records {said['records']}"
            )
