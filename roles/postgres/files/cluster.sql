-- SPDX-License-Identifier: Apache-2.0
-- The statements that bring roles, databases, rights and what the pair of sites needs to what they should be. Asked in database postgres.
-- crm_owner owns the database and cannot log in; crm logs in and acts as crm_owner; openbao may set crm's password and
-- nothing else: a right of CREATEROLE with ADMIN OPTION would let it grant itself crm and read every customer.
WITH
role(name, login, replication) AS (VALUES ('crm_owner', false, false), ('crm', true, false), ('openbao', true, false),
    ('replicator', true, true), -- the other site's server, by its certificate
    ('heartbeat', true, false), -- jinku-postgres-heartbeat.service, by the socket
    ('lag', true, false), -- jinku-postgres-lag.service, by the socket
    ('backup', true, true)), -- the backup host by its certificate, and the agent that hands it the files by the socket
setting(role, dbname, entry) AS (VALUES
    ('crm', :'database', 'role=crm_owner'),
    ('heartbeat', NULL, 'synchronous_commit=off'),
    ('openbao', NULL, 'log_min_error_statement=panic'), -- a failing statement would be logged with the password's verifier
    ('postgres', NULL, 'pgaudit.log=all, -misc')),
body(text) AS (VALUES ($body$
BEGIN
    IF name <> 'crm' THEN
        RAISE EXCEPTION 'set_password: not a role whose password is rotated';
    END IF;
    IF verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/=]{16,}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$' THEN
        RAISE EXCEPTION 'set_password: not a SCRAM-SHA-256 verifier; password_authentication of the connection must be scram-sha-256';
    END IF;
    EXECUTE format('ALTER ROLE %I PASSWORD %L', name, verifier);
END
$body$)),
heartbeat(text) AS (VALUES ($body$
BEGIN
    IF NOT pg_is_in_recovery() THEN
        UPDATE jinku.heartbeat SET at = clock_timestamp();
        IF NOT FOUND THEN
            INSERT INTO jinku.heartbeat (at) VALUES (clock_timestamp());
        END IF;
    END IF;
END
$body$)),
-- One row, on either server: how far the standby is behind (the backup host, which receives too, is no standby). On the primary lag_seconds is null while nothing is under way.
replication(text) AS (VALUES ($view$
SELECT pg_is_in_recovery() AS standby,
    CASE WHEN pg_is_in_recovery() THEN (SELECT extract(epoch FROM clock_timestamp() - at) FROM jinku.heartbeat)
        ELSE (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication WHERE usename = 'replicator' AND state IN ('streaming', 'catchup')) END AS lag_seconds,
    CASE WHEN pg_is_in_recovery() THEN (SELECT greatest(latest_end_lsn - pg_last_wal_replay_lsn(), 0) FROM pg_stat_wal_receiver)
        ELSE (SELECT max(pg_current_wal_lsn() - replay_lsn) FROM pg_stat_replication WHERE usename = 'replicator' AND state IN ('streaming', 'catchup')) END AS lag_bytes,
    CASE WHEN pg_is_in_recovery() THEN EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')
        ELSE EXISTS (SELECT FROM pg_stat_replication WHERE usename = 'replicator' AND state = 'streaming') END AS streaming
$view$)),
open_to_all AS ( -- databases on which PUBLIC holds a right
    SELECT datname FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba))) AS acl
    WHERE acl.grantee = 0 GROUP BY datname),
connects(dbname, role) AS (VALUES ('postgres', 'openbao'), ('postgres', 'heartbeat'), ('postgres', 'lag'), ('postgres', 'backup'),
    (:'database', 'crm')),
-- The backup host begins and ends a copy, and asks where the files lie; it reads no table.
copies(function) AS (VALUES ('pg_backup_start(text, boolean)'), ('pg_backup_stop(boolean)'), ('pg_switch_wal()'),
    ('pg_create_restore_point(text)')),
member(role, member) AS (VALUES ('crm_owner', 'crm'), ('pg_read_all_settings', 'backup')),
needed(step, statement) AS (
    SELECT 1, format('CREATE ROLE %I %s %s NOINHERIT', name, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END,
        CASE WHEN replication THEN 'REPLICATION' ELSE 'NOREPLICATION' END)
    FROM role WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
    UNION ALL
    SELECT 2, format('ALTER ROLE %I %s %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT', name,
        CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END, CASE WHEN replication THEN 'REPLICATION' ELSE 'NOREPLICATION' END)
    FROM role JOIN pg_roles ON rolname = name
    WHERE rolcanlogin <> login OR rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication <> replication OR rolbypassrls OR rolinherit
    UNION ALL
    SELECT 3, format('ALTER ROLE %I NOLOGIN', rolname) -- nobody else logs in
    FROM pg_roles WHERE rolcanlogin AND rolname <> 'postgres' AND rolname NOT IN (SELECT name FROM role)
    UNION ALL
    SELECT 4, 'GRANT crm_owner TO crm WITH ADMIN FALSE, INHERIT FALSE, SET TRUE'
    WHERE NOT EXISTS (
        SELECT FROM pg_auth_members WHERE roleid = to_regrole('crm_owner') AND member = to_regrole('crm')
        AND set_option AND NOT inherit_option AND NOT admin_option)
    UNION ALL
    SELECT 5, format('REVOKE %s FROM %s', roleid::regrole, member::regrole)
    FROM pg_auth_members JOIN pg_roles ON pg_roles.oid = member JOIN role ON name = rolname
    WHERE (roleid::regrole::text, rolname) NOT IN (SELECT member.role, member.member FROM member)
    UNION ALL
    SELECT 5, 'GRANT pg_read_all_settings TO backup WITH ADMIN FALSE, INHERIT TRUE, SET FALSE'
    WHERE NOT EXISTS (
        SELECT FROM pg_auth_members WHERE roleid = to_regrole('pg_read_all_settings') AND pg_auth_members.member = to_regrole('backup')
        AND inherit_option AND NOT set_option AND NOT admin_option)
    UNION ALL
    SELECT 6, format('CREATE DATABASE %I OWNER crm_owner TEMPLATE template0', :'database')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database')
    UNION ALL
    SELECT 7, format('ALTER DATABASE %I OWNER TO crm_owner', datname)
    FROM pg_database WHERE datname = :'database' AND datdba IS DISTINCT FROM to_regrole('crm_owner')
    UNION ALL
    SELECT 8, format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname) FROM open_to_all
    UNION ALL
    SELECT 9, format('GRANT CONNECT ON DATABASE %I TO %I', dbname, role)
    FROM connects JOIN pg_database ON datname = dbname JOIN pg_roles ON rolname = role
    WHERE NOT EXISTS (
        SELECT FROM aclexplode(datacl) AS acl WHERE acl.grantee = pg_roles.oid AND acl.privilege_type = 'CONNECT')
    UNION ALL
    SELECT 10, format('ALTER ROLE %I %sSET %s = %L', setting.role, 'IN DATABASE ' || quote_ident(dbname) || ' ',
        split_part(entry, '=', 1), substr(entry, strpos(entry, '=') + 1))
    FROM setting LEFT JOIN pg_database ON datname = dbname
    WHERE (dbname IS NULL OR pg_database.oid IS NOT NULL) AND NOT EXISTS (
        SELECT FROM pg_db_role_setting
        WHERE setrole = to_regrole(setting.role) AND setdatabase = coalesce(pg_database.oid, 0) AND entry = ANY (setconfig))
    UNION ALL
    SELECT 11, 'CREATE SCHEMA jinku' WHERE to_regnamespace('jinku') IS NULL
    UNION ALL
    SELECT 12, format('GRANT USAGE ON SCHEMA jinku TO %I', name) FROM (VALUES ('openbao'), ('heartbeat'), ('lag'), ('pg_monitor')) AS wanted(name)
    WHERE to_regrole(name) IS NOT NULL AND NOT coalesce(has_schema_privilege(name, to_regnamespace('jinku'), 'USAGE'), false)
    UNION ALL
    SELECT 13, 'CREATE OR REPLACE FUNCTION jinku.set_password(name text, verifier text) RETURNS void LANGUAGE plpgsql '
        || 'SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS ' || quote_literal(text)
    FROM body WHERE NOT EXISTS (
        SELECT FROM pg_proc WHERE oid = to_regprocedure('jinku.set_password(text, text)') AND prosecdef AND prosrc = text
        AND proconfig = ARRAY['search_path=pg_catalog, pg_temp'] AND proowner = 10)
    UNION ALL
    SELECT 14, 'REVOKE ALL ON FUNCTION jinku.set_password(text, text) FROM PUBLIC'
    FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner))) AS acl
    WHERE pg_proc.oid = to_regprocedure('jinku.set_password(text, text)') AND acl.grantee = 0
    UNION ALL
    SELECT 15, 'GRANT EXECUTE ON FUNCTION jinku.set_password(text, text) TO openbao'
    WHERE NOT coalesce(has_function_privilege('openbao', to_regprocedure('jinku.set_password(text, text)'), 'EXECUTE'), false)
    UNION ALL
    SELECT 15, format('GRANT EXECUTE ON FUNCTION pg_catalog.%s TO backup', function)
    FROM copies WHERE NOT coalesce(has_function_privilege(to_regrole('backup')::oid, to_regprocedure('pg_catalog.' || function), 'EXECUTE'), false)
    UNION ALL
    SELECT 16, 'REVOKE ALL ON SCHEMA public FROM PUBLIC'
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl
    WHERE nspname = 'public' AND acl.grantee = 0 GROUP BY nspname
    UNION ALL
    SELECT 17, 'CREATE TABLE jinku.heartbeat (one boolean PRIMARY KEY DEFAULT true CHECK (one), at timestamptz NOT NULL)'
    WHERE to_regclass('jinku.heartbeat') IS NULL
    UNION ALL
    SELECT 18, 'GRANT SELECT, INSERT, UPDATE ON jinku.heartbeat TO heartbeat'
    WHERE NOT coalesce(has_table_privilege('heartbeat', to_regclass('jinku.heartbeat'), 'SELECT')
        AND has_table_privilege('heartbeat', to_regclass('jinku.heartbeat'), 'INSERT')
        AND has_table_privilege('heartbeat', to_regclass('jinku.heartbeat'), 'UPDATE'), false)
    UNION ALL
    SELECT 19, 'CREATE OR REPLACE FUNCTION jinku.beat() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS '
        || quote_literal(text)
    FROM heartbeat WHERE NOT EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure('jinku.beat()') AND NOT prosecdef AND prosrc = text)
    UNION ALL
    SELECT 20, 'DROP VIEW IF EXISTS jinku.replication; CREATE VIEW jinku.replication AS ' || text
        || '; GRANT SELECT ON jinku.replication TO pg_monitor; COMMENT ON VIEW jinku.replication IS ' || quote_literal(md5(text))
    FROM replication WHERE obj_description(to_regclass('jinku.replication'), 'pg_class') IS DISTINCT FROM md5(text)
    UNION ALL
    -- Without pg_monitor the view tells a standby's lag_seconds, which is all that the monitor needs, and nothing of sessions.
    SELECT 21, 'GRANT SELECT ON jinku.replication TO lag'
    WHERE to_regrole('lag') IS NOT NULL AND NOT coalesce(has_table_privilege(to_regrole('lag'), to_regclass('jinku.replication'), 'SELECT'), true)
)
SELECT statement || ';' FROM needed ORDER BY step, statement;
