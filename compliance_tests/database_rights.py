# SPDX-License-Identifier: Apache-2.0
"""SQL that tells, a line each, what nobody declared in a database: what works by itself, and who else reads."""

#: Neither the CRM nor Jinku makes triggers or rules in the database: Tryton's own are its server's.
WORKS_BY_ITSELF = (
    "select 'event trigger ' || evtname from pg_event_trigger"
    " union all select 'trigger ' || tgname || ' on ' || tgrelid::regclass from pg_trigger where not tgisinternal"
    " union all select 'rule ' || rulename || ' on ' || ev_class::regclass from pg_rewrite join pg_class c on c.oid = ev_class"
    " where rulename <> '_RETURN' and c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')"
    # What only a superuser may bring: functions that reach other servers or files, or a language that is held by nothing.
    " union all select 'extension ' || extname from pg_extension e where not exists (select from pg_available_extension_versions v"
    " where v.name = e.extname and v.version = e.extversion and v.trusted)"
    " union all select 'language ' || lanname from pg_language where not lanpltrusted and lanname not in ('internal', 'c')"
)
#: Of a whole relation, or of columns of it, to whoever is neither its owner nor the CRM. Only grants to others are kept (relacl, attacl).
READ_BY_OTHERS = (
    "select distinct c.oid::regclass || ' to ' || case g.grantee when 0 then 'everybody' else g.grantee::regrole::text end"
    " from (select oid, relacl from pg_class union all select attrelid, attacl from pg_attribute) given(oid, acl) join pg_class c using (oid),"
    " aclexplode(given.acl) g where c.relnamespace::regnamespace::text not in ('pg_catalog', 'information_schema')"
    " and g.grantee not in (c.relowner, coalesce(to_regrole('crm')::oid, 10), coalesce(to_regrole('crm_owner')::oid, 10))"
    # What will be made is given away beforehand.
    " union all select distinct 'whatever ' || d.defaclrole::regrole || ' makes to ' || case g.grantee when 0 then 'everybody' else"
    " g.grantee::regrole::text end from pg_default_acl d, aclexplode(d.defaclacl) g where g.grantee not in"
    " (d.defaclrole, coalesce(to_regrole('crm')::oid, 10), coalesce(to_regrole('crm_owner')::oid, 10))"
)
#: What is set for one role or one database: whose it is, and the setting.
SET_FOR_SOME = (
    "select coalesce(r.rolname, 'everybody') || ' in ' || coalesce(d.datname, 'every database'), c from pg_db_role_setting s"
    " left join pg_roles r on r.oid = setrole left join pg_database d on d.oid = setdatabase, unnest(setconfig) c"
)
#: Of these settings, those that say who a session is, what it runs unasked, and whether rules on records hold for it.
STRONG = [
    "role",
    "session_authorization",
    "search_path",
    "session_replication_role",
    "row_security",
    "session_preload_libraries",
    "local_preload_libraries",
    "password_encryption",
    "event_triggers",
]
