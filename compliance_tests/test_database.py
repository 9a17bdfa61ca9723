# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL: who logs in and how, what a role may do, and what is put on record."""

import contextlib
import secrets
from ipaddress import ip_address

import pytest
from asking import PSQL, ask

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

TOKEN = secrets.token_hex(6)
CERTIFICATE = "sslrootcert=/etc/jinku/tls/ca.pem sslcert=/etc/jinku/tls/host.pem sslkey=/etc/jinku/tls/host.key"


def sql(host, statement):
    """Rows of ``statement``, asked as the database's own administrator on its own machine."""
    return host.check_output(f"{PSQL} -c %s", statement).splitlines()


def shown(host, *names):
    """Settings in force, by name: one question for all of them."""
    values = sql(host, "select unnest(array[" + ", ".join(f"current_setting('{name}')" for name in names) + "])")
    return dict(zip(names, values, strict=True))


#: Tiers whose hosts log in to the database.
LOGS_IN = ("crm", "vault", "postgres", "backup")
ONE_ADDRESS = ("255.255.255.255", ":".join(["ffff"] * 8))


def of_one(known, address, netmask):
    """Whether a rule's address is one of ``known`` and nothing around it; it may be a word, such as all."""
    with contextlib.suppress(ValueError):
        return str(ip_address(address)) in known and netmask in ONE_ADDRESS
    return False


@pytest.fixture
def from_the_crm(fleet, topology, subject):
    """Log in to the database from where the CRM does, with the CRM host's own certificate unless told otherwise."""
    node = topology.nodes_of("crm")[0]
    server = f"host={topology.node(subject.node).fqdn} port={SERVICES['postgres'].port}"

    def attempt(*ways):
        return ask(fleet.host(node.name), "pg_try.py", *(f"{server} {way}" for way in ways)).splitlines()

    return attempt


@pytest.mark.control("dengbao:8.1.4.1.a", "dengbao:8.1.4.2.b", "iso27001:A.8.5")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_every_login_to_the_database_is_proven(host, topology):
    """Passwords are kept as SCRAM, no rule lets anybody in without proof or from anywhere, and the administrator has no password at all.

    zh: 口令以 SCRAM 保存，任何访问规则均要求鉴别且仅限已声明主机的地址，默认管理员无口令且仅限本机。
    """
    assert shown(host, "password_encryption") == {"password_encryption": "scram-sha-256"}
    kept = dict(
        line.split("|")
        for line in sql(host, "select rolname, coalesce(left(rolpassword, 14), '') from pg_authid where rolcanlogin")
    )
    assert all(kind in ("", "SCRAM-SHA-256$") for kind in kept.values()), f"kept otherwise: {kept}"
    assert kept["postgres"] == "", "the default administrator has a password"
    rules = [
        line.split("|")
        for line in sql(
            host,
            "select type, auth_method, user_name::text, database::text, coalesce(address, ''), coalesce(netmask, '')"
            " from pg_hba_file_rules where error is null",
        )
    ]
    assert rules, "no rules"
    weak = [rule for rule in rules if rule[1] not in ("scram-sha-256", "cert", "peer", "reject")]
    assert not weak, f"no proof is asked for: {weak}"
    known = {str(address) for tier in LOGS_IN for node in topology.nodes_of(tier) for address in node.addresses}
    wide = [rule for rule in rules if rule[0] != "local" and rule[1] != "reject" and not of_one(known, *rule[4:6])]
    assert not wide, f"open to more than the hosts that log in: {wide}"
    assert all(rule[0] == "local" or "postgres" not in rule[2] for rule in rules), (
        "the default administrator may log in from afar"
    )


@pytest.mark.control("dengbao:8.1.4.1.a", "dengbao:8.1.4.2.b", "iso27001:A.8.5")
@pytest.mark.objects("database")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_no_password_and_a_wrong_one_open_nothing(from_the_crm):
    """From the CRM's own host: no password, a wrong one, default ones, and the administrator's name are all refused.

    zh: 从 CRM 主机以空口令、错误口令、默认口令及管理员账户登录均被拒绝。
    """
    passwords, users = ("wrong", "crm", "postgres", "123456"), ("postgres", "openbao")
    answers = from_the_crm(
        *(f"dbname=crm user=crm password={password} sslmode=verify-full {CERTIFICATE}" for password in passwords),
        f"dbname=crm user=crm sslmode=verify-full {CERTIFICATE}",
        *(f"dbname=postgres user={user} password=postgres sslmode=verify-full {CERTIFICATE}" for user in users),
    )
    for password, said in zip(passwords, answers[:4], strict=True):
        assert "password authentication failed" in said, f"password {password!r}: {said}"
    assert answers[4] != "in", "no password is needed"
    for user, said in zip(users, answers[5:], strict=True):
        assert "no pg_hba.conf entry" in said or "certificate authentication failed" in said, f"{user}: {said}"


@pytest.mark.control(
    "dengbao:8.1.4.1.c", "dengbao:8.1.2.2.b", "dengbao:8.1.4.8.a", "dengbao:8.1.4.7.a", "iso27001:A.8.24"
)
@pytest.mark.objects("database")
@pytest.mark.setting
def test_the_database_speaks_tls_only(host):
    """TLS is on, from 1.2, no rule admits a connection without it, and every open session from afar has it.

    zh: 仅启用 TLS 1.2 以上，规则不接受明文，所有远程会话均已加密。
    """
    setting = shown(host, "ssl", "ssl_min_protocol_version")
    assert setting["ssl"] == "on"
    assert setting["ssl_min_protocol_version"] in ("TLSv1.2", "TLSv1.3")
    open_rules = sql(
        host, "select type from pg_hba_file_rules where type in ('host', 'hostnossl') and auth_method <> 'reject'"
    )
    assert not open_rules, "a rule admits connections in clear"
    clear = sql(
        host,
        "select usename from pg_stat_ssl join pg_stat_activity using (pid) where client_addr is not null and not ssl",
    )
    assert not clear, f"sessions in clear: {clear}"


@pytest.mark.control(
    "dengbao:8.1.4.1.c", "dengbao:8.1.2.2.b", "dengbao:8.1.4.8.a", "dengbao:8.1.4.7.a", "iso27001:A.8.24"
)
@pytest.mark.objects("database")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_a_login_in_clear_or_without_certificate_is_refused(from_the_crm):
    """Without TLS, with an old TLS, or without a certificate of our CA no password is even asked for.

    zh: 不使用 TLS、使用旧版 TLS 或无内部 CA 证书的连接，在询问口令之前即被拒绝。
    """
    clear, old, bare = from_the_crm(
        "dbname=crm user=crm password=wrong sslmode=disable",
        f"dbname=crm user=crm password=wrong sslmode=require ssl_min_protocol_version=TLSv1 ssl_max_protocol_version=TLSv1.1 {CERTIFICATE}",
        "dbname=crm user=crm password=wrong sslmode=require sslcert=/nonexistent sslkey=/nonexistent",
    )
    assert "pg_hba.conf" in clear, f"in clear: {clear}"
    assert "pg_hba.conf rejects" in clear or "no encryption" in clear, f"in clear: {clear}"
    assert "SSL error" in old or "protocol" in old, f"TLS 1.1: {old}"
    assert "certificate" in bare, f"without certificate: {bare}"


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.e", "dengbao:8.1.4.2.f", "iso27001:A.8.2", "iso27001:A.8.3")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_roles_of_the_database_have_the_least_privilege(host):
    """One superuser, for its own machine only; one role that may only replicate; the CRM's role has no attribute; PUBLIC has nothing.

    zh: 仅一个本机超级用户；仅一个只能复制的角色；CRM 角色无特权属性与预定义角色；PUBLIC 无权限。
    """
    strong = sql(host, "select rolname from pg_roles where rolsuper or rolcreaterole or rolcreatedb or rolbypassrls")
    assert strong == ["postgres"], f"more than the administrator has attributes: {strong}"
    copies = sql(host, "select rolname from pg_roles where rolreplication and not rolsuper order by 1")
    assert copies in ([], ["replicator"], ["backup"], ["backup", "replicator"]), f"may copy the database: {copies}"
    # who fetches copies reads everything, so it is a host with its certificate, and nobody's password opens it
    copying = sql(
        host, "select rolname from pg_authid where rolreplication and rolname <> 'postgres' and rolpassword is not null"
    )
    assert not copying, f"by a password one may copy the database: {copying}"
    member = sql(
        host,
        "select r.rolname from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles u on u.oid = m.member"
        " where u.rolname = 'crm'",
    )
    assert not [role for role in member if role.startswith("pg_")], f"the CRM has predefined roles: {member}"
    public = sql(
        host,
        "select datname from pg_database d, aclexplode(coalesce(datacl, acldefault('d', datdba))) a where a.grantee = 0",
    )
    assert not public, f"everybody may connect to {public}"
    owner = sql(
        host,
        "select datname from pg_database where pg_get_userbyid(datdba) in (select rolname from pg_roles where rolcanlogin) and datname = 'crm'",
    )
    assert not owner, "the CRM's database belongs to a role that logs in"


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.e", "dengbao:8.1.4.2.f", "iso27001:A.8.2", "iso27001:A.8.3")
@pytest.mark.objects("database")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_the_crm_role_cannot_step_beyond_its_data(host):
    """Tried as the CRM's role: no new role, no secret of others, no file, no program, no setting, no other database.

    zh: 以 CRM 角色实际尝试：不能建角色、读口令、读写文件、执行程序、改设置、建库。
    """
    standby = sql(host, "select pg_is_in_recovery()") == ["t"]
    statements = (
        "CREATE ROLE sabotage",
        "SELECT rolpassword FROM pg_authid",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/hostname')",
        "ALTER SYSTEM SET log_statement = 'none'",
        "CREATE DATABASE sabotage",
    )
    # All in one session, each announced on standard error, where its refusal follows; the first that is done ends it.
    script = "SET SESSION AUTHORIZATION crm;\n" + "".join(
        f"\\warn statement {number}\n{each};\n\\if :ERROR\n\\else\n\\quit\n\\endif\n"
        for number, each in enumerate(statements)
    )
    answers = host.run(f"{PSQL} -d crm", given=script).stderr.split("statement ")[1:]
    assert answers, "the statements could not be tried"
    for statement, said in zip(statements, answers, strict=False):
        refused = "permission denied" in said or "must be superuser" in said
        refused |= standby and "in a read-only transaction" in said  # there nobody may, the administrator neither
        assert refused, f"{statement}: {said.partition(chr(10))[2].strip() or 'done'}"
    assert len(answers) == len(statements), f"only {len(answers)} of {len(statements)} statements were tried"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.b", "iso27001:A.8.15")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_the_database_keeps_an_audit_trail(host):
    """Pgaudit is loaded and records definitions, roles and writes; logins and logouts are recorded with time, user and source.

    zh: 已加载 pgaudit，记录结构、角色与写操作；登录与退出记录含时间、用户与来源。
    """
    setting = shown(
        host,
        "shared_preload_libraries",
        "pgaudit.log",
        "log_connections",
        "log_disconnections",
        "log_line_prefix",
        "log_timezone",
    )
    assert "pgaudit" in setting["shared_preload_libraries"]
    classes = {word.strip() for word in setting["pgaudit.log"].split(",")}
    assert classes >= {"ddl", "role", "write"} or "all" in classes, f"pgaudit records only {setting['pgaudit.log']}"
    # The administrator, who asks here, is recorded by a setting of their own: so also what holds for everybody else.
    held = sql(host, "select setting from pg_file_settings where name = 'pgaudit.log' and applied")
    of_all = {word.strip() for line in held for word in line.split(",")}
    assert of_all >= {"ddl", "role"} or "all" in of_all, (
        f"of others pgaudit records only {', '.join(held) or 'nothing'}"
    )
    assert setting["log_connections"] == setting["log_disconnections"] == "on"
    assert "%u" in setting["log_line_prefix"], "lines do not name the user"
    assert (
        {"%r", "%h"} & set(setting["log_line_prefix"].replace("%", " %").split())
        or "%h" in setting["log_line_prefix"]
        or "%r" in setting["log_line_prefix"]
    ), "lines do not name the source"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.b", "iso27001:A.8.15")
@pytest.mark.objects("database")
@pytest.mark.behaviour
def test_a_change_in_the_database_is_on_record_at_the_log_tier(host, fleet, topology, subject):
    """A definition tried (and rolled back; on a standby a look) is found at the log tier: time, host, user, kind of event and statement.

    zh: 执行一次结构变更（随即回滚；备库上为查询），可在日志层查到时间、主机、用户、事件类型与语句。
    """
    standby = sql(host, "select pg_is_in_recovery()") == ["t"]
    tried = f"SELECT 'audit_{TOKEN}'" if standby else f"BEGIN; CREATE TABLE audit_{TOKEN} (); ROLLBACK"
    host.run(f"{PSQL} -d postgres -c %s", tried)
    line = arrived(fleet, topology, subject.node, f"audit_{TOKEN}")
    assert line, "the change is not on record at the log tier"
    assert "AUDIT: SESSION" in line
    assert ("READ,SELECT" if standby else "CREATE TABLE") in line
    assert "postgres" in line


def arrived(fleet, topology, node, token, seconds=30):
    """The line with ``token`` that the log tier received from ``node``; waits for it. A host that says much just then is seconds behind: each line is confirmed."""
    logs = topology.nodes_of("log")
    if not logs:
        pytest.skip("this environment has no log tier")
    command = (
        f"for i in $(seq {seconds * 4}); do grep -rhF -m1 -e '{token}' --include=$(date +%F).log /var/log/remote/{node}/ && exit;"
        " sleep 0.25; done; exit 1"
    )
    return fleet.host(logs[0].name).run(command, timeout=seconds + 10).stdout.strip()


ALTER = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1"
HBA = "/etc/postgresql/17/main/pg_hba.conf"
PG_CONF = "/etc/postgresql/17/main/postgresql.conf"
SABOTAGE = (
    Sabotage(
        "the database lets the network in without proof and in clear",
        on="database",
        breaks=f"cp -a {HBA} /run/sabotage.hba && (echo 'host all all all trust'; cat /run/sabotage.hba) > {HBA}"
        f" && {ALTER} -c 'SELECT pg_reload_conf()'",
        mends=f"cat /run/sabotage.hba > {HBA} && rm /run/sabotage.hba && {ALTER} -c 'SELECT pg_reload_conf()'",
        kills=(
            "test_every_login_to_the_database_is_proven",
            "test_no_password_and_a_wrong_one_open_nothing",
            "test_the_database_speaks_tls_only",
            "test_a_login_in_clear_or_without_certificate_is_refused",
        ),
        settle=0.5,
    ),
    Sabotage(
        "the CRM's password opens the database from anywhere",
        on="database",
        breaks=f"cp -a {HBA} /run/sabotage.hba && sed -i '1i hostssl crm crm 0.0.0.0/0 scram-sha-256 clientcert=verify-ca' {HBA}"
        f" && {ALTER} -c 'SELECT pg_reload_conf()'",
        mends=f"cat /run/sabotage.hba > {HBA} && rm /run/sabotage.hba && sleep 1 && {ALTER} -c 'SELECT pg_reload_conf()'",
        kills=("test_every_login_to_the_database_is_proven",),
        settle=0.5,
    ),
    Sabotage(
        "of nobody but the administrator anything is recorded",
        on="database",
        breaks=f"cp -a {PG_CONF} /run/sabotage.pg && sed -i \"s/^pgaudit.log = .*/pgaudit.log = 'none'/\" {PG_CONF}"
        f" && {ALTER} -c 'SELECT pg_reload_conf()'",
        mends=f"cat /run/sabotage.pg > {PG_CONF} && rm /run/sabotage.pg && sleep 1 && {ALTER} -c 'SELECT pg_reload_conf()'",
        kills=("test_the_database_keeps_an_audit_trail",),
        settle=0.5,
    ),
    Sabotage(
        "the CRM's role becomes a superuser",
        on="database",
        breaks=f"{ALTER} -c 'ALTER ROLE crm SUPERUSER'",
        mends=f"{ALTER} -c 'ALTER ROLE crm NOSUPERUSER'",
        kills=("test_roles_of_the_database_have_the_least_privilege", "test_the_crm_role_cannot_step_beyond_its_data"),
    ),
    Sabotage(
        "the database stops its audit trail",
        on="database",
        breaks=f"{ALTER} -c \"ALTER ROLE postgres SET pgaudit.log = 'none'\"",
        mends=f"{ALTER} -c \"ALTER ROLE postgres SET pgaudit.log = 'all, -misc'\"",
        kills=("test_the_database_keeps_an_audit_trail", "test_a_change_in_the_database_is_on_record_at_the_log_tier"),
        settle=0.5,
    ),
)
