# SPDX-License-Identifier: Apache-2.0
"""Rights in the database that nobody declared, and records that are switched off for some only."""

import pytest
from asking import PSQL, not_loaded
from database_rights import READ_BY_OTHERS, SET_FOR_SOME, STRONG, WORKS_BY_ITSELF
from test_database import ALTER, HBA, PG_CONF, sql

from jinku.evidence.sabotage import Sabotage


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.e", "iso27001:A.8.2")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_no_other_role_logs_in_or_borrows_rights(host):
    """Nobody logs in but administrator, CRM, vault, the other site's server, backup host, heartbeat and its reader; one borrows the sight of settings.

    zh: 仅管理员、CRM、密钥库、对端复制、备份、心跳及其读取角色可登录；除备份角色可读设置外均不（间接）持有预定义角色，也无额外的提权函数。
    """
    roles = set(sql(host, "select rolname from pg_roles where rolcanlogin"))
    known = {"postgres", "crm", "openbao", "replicator", "heartbeat", "lag", "backup"}
    assert roles <= known, f"also logs in: {', '.join(sorted(roles - known))}"
    borrowed = sql(
        host,
        "select u.rolname, r.rolname from pg_roles u, pg_roles r where u.rolcanlogin and not u.rolsuper"
        " and (r.rolname ~ '^pg_' or r.rolsuper) and pg_has_role(u.oid, r.oid, 'MEMBER')",
    )
    borrowed = set(borrowed) - {"backup|pg_read_all_settings"}  # pgBackRest asks where the files lie
    assert not borrowed, f"borrows: {', '.join(sorted(borrowed))}"
    lent = sql(
        host,
        "select m.rolname, r.rolname from pg_auth_members a join pg_roles m on m.oid = a.member"
        " join pg_roles r on r.oid = a.roleid where r.rolname !~ '^pg_'",
    )
    assert set(lent) <= {"crm|crm_owner"}, f"belongs to another role: {', '.join(lent)}"
    # The CRM's role acts as the owner of its database; nobody else is somebody else.
    strong = [row for row in sql(host, SET_FOR_SOME) if row.partition("|")[2].partition("=")[0] in STRONG]
    strong = set(strong) - {"crm in crm|role=crm_owner"}
    assert not strong, f"set for some only: {', '.join(sorted(strong))}"
    shown = sql(
        host,
        "select c.relname, g.grantee::regrole from pg_class c, aclexplode(c.relacl) g where g.grantee <> 10"
        " and c.relname in ('pg_authid', 'pg_shadow', 'pg_user_mapping', 'pg_subscription')"
        # A right to a setting is kept apart: with one to pgaudit.log a role takes itself out of the record.
        " union all select parname, g.grantee::regrole from pg_parameter_acl p, aclexplode(p.paracl) g where g.grantee <> 10",
    )
    assert not shown, (
        f"reads what passwords are checked by, or sets what only the administrator may: {', '.join(shown)}"
    )
    for database in sql(host, "select datname from pg_database where datallowconn"):
        files = host.check_output(
            f"{PSQL} -d %s -c %s",
            database,
            "select p.proname || ' by ' || g.grantee::regrole from pg_proc p, aclexplode(p.proacl) g where g.grantee <> 10"
            " and p.proname ~ '^(pg_read_|pg_ls_|pg_stat_file|pg_file_|lo_import|lo_export)' and g.grantee::regrole::text !~ '^pg_'",
        ).splitlines()
        assert not files, f"in {database} reads or writes files of the server: {', '.join(files)}"
        strong = host.check_output(
            f"{PSQL} -d %s -c %s",
            database,
            "select p.oid::regproc from pg_proc p join pg_roles o on o.oid = p.proowner join pg_namespace n on"
            " n.oid = p.pronamespace where p.prosecdef and o.rolsuper and n.nspname <> 'pg_catalog'",
        ).split()
        kept = host.check_output(f"{PSQL} -d %s -c %s", database, WORKS_BY_ITSELF).splitlines()
        assert not kept, f"in {database} works by itself at a change, or lends more: {', '.join(kept)}"
        extra = sorted(set(strong) - ({"jinku.set_password"} if database == "postgres" else set()))
        assert not extra, f"in {database} runs as the administrator: {', '.join(extra)}"
    shared = host.check_output(f"{PSQL} -d crm -c %s", READ_BY_OTHERS).splitlines()
    assert not shared, f"the CRM's records are open to others: {', '.join(shared[:4])}"


@pytest.mark.control("dengbao:8.1.4.3.a", "iso27001:A.8.15")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_nobody_is_left_out_of_the_record(host):
    """No setting of one role or one database takes anything out of the audit trail that holds for all; what runs is what the files say.

    zh: 不存在仅对某角色或某数据库削弱审计记录的设置；运行中的配置即配置文件的内容。
    """
    altered = sql(host, "select name from pg_file_settings where sourcefile like '%postgresql.auto.conf'")
    assert not altered, f"set past the files: {', '.join(altered)}"
    loaded = float(sql(host, "select extract(epoch from pg_conf_load_time())")[0])
    wrong = not_loaded(host, "postgres", "/etc/postgresql/*/main/*.conf", loaded, "systemctl reload postgresql")
    assert not wrong, wrong
    waits = sql(host, "select name from pg_settings where pending_restart")
    assert not waits, f"the files say otherwise, and it runs on without: {', '.join(waits)} (it waits for a restart)"
    rows = sql(host, SET_FOR_SOME)
    for row in rows:
        who, _, setting = row.partition("|")
        name, _, value = setting.partition("=")
        words = {word.strip() for word in value.split(",")}
        # Of the vault's role only the text of failed statements is kept out, for it may hold a password's verifier.
        weaker = name.startswith(("pgaudit.", "log_")) and (name, who.split()[0]) != (
            "log_min_error_statement",
            "openbao",
        )
        if name == "pgaudit.log" and not {"-ddl", "-role", "-write", "none"} & words:
            weaker = not ("all" in words or words >= {"ddl", "role", "write"})
        assert not weaker, f"{who}: {setting}"


SABOTAGE = (
    Sabotage(
        "the vault's role reads files, and the CRM is left out of the record",
        on="database",
        breaks=f"{ALTER} -c 'GRANT pg_read_server_files TO openbao' -c \"ALTER DATABASE crm SET pgaudit.log = 'none'\"",
        mends=f"{ALTER} -c 'REVOKE pg_read_server_files FROM openbao' -c 'ALTER DATABASE crm RESET pgaudit.log'",
        kills=("test_no_other_role_logs_in_or_borrows_rights", "test_nobody_is_left_out_of_the_record"),
    ),
    Sabotage(
        "no reference between records holds for the CRM's role",
        on="database",
        breaks=f"{ALTER} -c 'ALTER ROLE crm SET session_replication_role = replica'",
        mends=f"{ALTER} -c 'ALTER ROLE crm RESET session_replication_role'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "what the CRM's owner will make is another role's to read",
        on="database",
        breaks=f"{ALTER} -d crm -c 'ALTER DEFAULT PRIVILEGES FOR ROLE crm_owner GRANT SELECT ON TABLES TO lag'",
        mends=f"{ALTER} -d crm -c 'ALTER DEFAULT PRIVILEGES FOR ROLE crm_owner REVOKE SELECT ON TABLES FROM lag'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "a change of the CRM's groups works something by itself",
        on="database",
        breaks=f"{ALTER} -d crm -c 'CREATE TRIGGER sabotage BEFORE UPDATE ON res_group FOR EACH ROW EXECUTE FUNCTION"
        " suppress_redundant_updates_trigger()'",
        mends=f"{ALTER} -d crm -c 'DROP TRIGGER sabotage ON res_group'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "the CRM's role may take itself out of the record",
        on="database",
        breaks=f"{ALTER} -c 'GRANT SET ON PARAMETER pgaudit.log TO crm'",
        mends=f"{ALTER} -c 'REVOKE SET ON PARAMETER pgaudit.log FROM crm'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "functions that reach other servers are there for everybody",
        on="database",
        breaks=f"{ALTER} -d crm -c 'CREATE EXTENSION dblink'",
        mends=f"{ALTER} -d crm -c 'DROP EXTENSION dblink'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "the CRM's users are read by a role that is not the CRM's",
        on="database",
        breaks=f"{ALTER} -d crm -c 'GRANT SELECT (login) ON res_user TO lag'",
        mends=f"{ALTER} -d crm -c 'REVOKE SELECT (login) ON res_user FROM lag'",
        kills=("test_no_other_role_logs_in_or_borrows_rights",),
    ),
    Sabotage(
        "the database's files name another number of connections, which waits for a restart",
        on="database",
        breaks=f"cp -a {PG_CONF} /run/sabotage.pg && sed -i 's/^max_connections = .*/max_connections = 777/' {PG_CONF} && sleep 1"
        f" && {ALTER} -c 'SELECT pg_reload_conf()' && sleep 1",
        mends=f"mv /run/sabotage.pg {PG_CONF} && sleep 1 && {ALTER} -c 'SELECT pg_reload_conf()' && sleep 1",
        kills=("test_nobody_is_left_out_of_the_record",),
    ),
    Sabotage(
        "a role reads what passwords are checked by, and the server lets in whom its file does not name",
        on="database",
        breaks=f"{ALTER} -c 'GRANT SELECT ON pg_authid TO lag' && cp -a {HBA} /run/sabotage.hba"
        f" && sed -i '1i hostssl all lag 192.0.2.1/32 scram-sha-256' {HBA} && {ALTER} -c 'SELECT pg_reload_conf()'"
        f" && sleep 1 && cp -a /run/sabotage.hba {HBA}",
        mends=f"{ALTER} -c 'REVOKE SELECT ON pg_authid FROM lag' -c 'SELECT pg_reload_conf()' && rm /run/sabotage.hba && sleep 1",
        kills=("test_no_other_role_logs_in_or_borrows_rights", "test_nobody_is_left_out_of_the_record"),
    ),
)
