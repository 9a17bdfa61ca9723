# SPDX-License-Identifier: Apache-2.0
"""The database's copy at the other site: it follows at once, over mutual TLS, and nobody else may make one."""

import time

import pytest
from asking import ask, primary_database

from jinku.evidence.sabotage import Sabotage
from jinku.model.topology import SERVICES

#: Level 3 asks for a copy in real time (GB/T 22239-2019 8.1.4.9.b); a copy that is a minute behind is none.
REAL_TIME_SECONDS = 60
PSQL = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1"
CERTIFICATE = "sslrootcert=/etc/jinku/tls/ca.pem sslcert=/etc/jinku/tls/host.pem sslkey=/etc/jinku/tls/host.key"
NO_CERTIFICATE = "sslrootcert=/etc/jinku/tls/ca.pem sslcert=/nonexistent sslkey=/nonexistent"


def rows(host, statement):
    """Rows of ``statement``, each a list of texts, asked as the administrator on the server's own machine."""
    return [line.split("|") for line in host.check_output(f"{PSQL} -c %s", statement).splitlines()]


@pytest.fixture
def others(topology, subject):
    """Nodes with a database at another site than the object's; there must be one."""
    site = topology.node(subject.node).site
    found = [node for node in topology.nodes_of("postgres") if node.site != site]
    assert found, "there is no database at another site"
    return found


@pytest.mark.control("dengbao:8.1.4.9.b", "iso27001:A.8.13", "iso27001:A.8.14")
@pytest.mark.objects("database")
@pytest.mark.setting
def test_the_database_has_a_copy_at_the_other_site(host, others):
    """The pair streams over TLS, named by certificates on both ends; the log is kept for the standby, within a bound; checksums are on.

    zh: 两站点数据库经双向证书 TLS 流复制；主库为备库保留日志且有上限；已启用校验和。
    """
    assert rows(host, "SHOW data_checksums") == [["on"]]
    if rows(host, "SELECT pg_is_in_recovery()") == [["t"]]:
        received = rows(host, "SELECT status, slot_name <> '', conninfo FROM pg_stat_wal_receiver")
        assert received, "the standby receives nothing"
        status, slot, conninfo = received[0]
        assert (status, slot) == ("streaming", "t"), f"the standby is {status}"
        assert "sslmode=verify-full" in conninfo, "the primary is not verified by its name"
        assert "password" not in conninfo, "the standby logs in with a password"
        return
    follows = rows(
        host,
        "SELECT state, ssl, version, client_dn FROM pg_stat_replication JOIN pg_stat_ssl USING (pid) WHERE usename = 'replicator'",
    )
    names = {f"/CN={node.fqdn}" for node in others}
    following = [row for row in follows if row[0] == "streaming" and row[3] in names]
    assert following, f"no standby at another site follows: {follows}"
    assert all(row[1] == "t" and row[2] in ("TLSv1.2", "TLSv1.3") for row in follows), f"in clear: {follows}"
    slots = rows(
        host,
        "SELECT slot_name, active, wal_status FROM pg_replication_slots"
        " WHERE slot_type = 'physical' AND active AND slot_name <> 'backup'",
    )
    assert any(slot[2] in ("reserved", "extended") for slot in slots), f"the log is kept for nobody: {slots}"
    assert rows(host, "SHOW max_slot_wal_keep_size") != [["-1"]], "a dead site fills the other's volume"


@pytest.mark.control("dengbao:8.1.4.9.b", "iso27001:A.8.13", "iso27001:A.8.14")
@pytest.mark.objects("database")
@pytest.mark.behaviour
def test_what_is_written_arrives_at_the_other_site_at_once(host, fleet, topology, others):
    """The primary's heartbeat, a row a second, is seen to arrive at the standby, younger than a minute and than the declared objective.

    zh: 主库每秒心跳在备库可见，延迟低于一分钟且低于声明的恢复点目标。
    """
    allowed = min(REAL_TIME_SECONDS, topology.env.objectives.rpo_minutes * 60)
    primary = primary_database(fleet, topology)
    standbys = [fleet.host(node.name) for node in others]
    standbys = [one for one in (host, *standbys) if rows(one, "SELECT pg_is_in_recovery()") == [["t"]]]
    assert standbys, "no server is a standby"
    look = "SELECT extract(epoch FROM at)::numeric(20, 3), extract(epoch FROM clock_timestamp() - at)::numeric(20, 3) FROM jinku.heartbeat"
    for standby in standbys:
        seen = [rows(standby, look)[0]]
        time.sleep(2.5)
        seen.append(rows(standby, f"{look} -- once more")[0])
        assert float(seen[1][1]) <= allowed, f"the standby is {seen[1][1]} s behind"
        assert float(seen[1][0]) > float(seen[0][0]), "the standby's data stands still"
    assert float(rows(primary, f"{look} -- of the primary")[0][1]) <= allowed, "the primary's heart does not beat"


@pytest.mark.control("dengbao:8.1.4.9.b", "dengbao:8.1.4.8.a", "iso27001:A.8.24")
@pytest.mark.objects("database")
@pytest.mark.behaviour
def test_nobody_else_may_copy_the_database(host, fleet, topology, subject, others):
    """The other site's server is let in by its certificate; without one, or from another host with its own, nobody is.

    zh: 仅对端数据库凭其证书可建立复制连接；无证书或其他主机均被拒绝。
    """
    server = (
        f"host={topology.node(subject.node).fqdn} port={SERVICES['postgres'].port} user=replicator connect_timeout=5"
    )
    methods = rows(
        host, "SELECT DISTINCT type, auth_method FROM pg_hba_file_rules WHERE 'replication' = ANY (database)"
    )
    assert methods == [["hostssl", "cert"]], f"other ways to copy: {methods}"
    peer = fleet.host(others[0].name)

    def tried(way):
        done = peer.run(f"{PSQL} -d %s -c IDENTIFY_SYSTEM", f"{server} replication=true {way}")
        return "in" if done.rc == 0 else done.stderr

    said = tried(f"sslmode=verify-full {CERTIFICATE}")
    assert said == "in", f"the other site's server is refused, so the rest would prove nothing: {said}"
    said = tried(f"sslmode=verify-full {NO_CERTIFICATE}")
    assert "certificate" in said, f"without a certificate: {said}"
    said = tried("sslmode=disable")
    assert "pg_hba.conf" in said, f"in clear: {said}"
    data = peer.run(f"{PSQL} -d %s -c 'SELECT 1'", f"{server} dbname=postgres sslmode=verify-full {CERTIFICATE}")
    assert data.rc != 0, "the account of replication opens a database"
    assert "pg_hba.conf" in data.stderr, f"for another reason: {data.stderr}"
    crm = fleet.host(topology.nodes_of("crm")[0].name)
    (said,) = ask(
        crm, "pg_try.py", f"{server} dbname=replication replication=true sslmode=verify-full {CERTIFICATE}"
    ).splitlines()
    assert "pg_hba.conf" in said, f"from a host of the CRM: {said}"


HBA = "/etc/postgresql/17/main/pg_hba.conf"
SABOTAGE = (
    Sabotage(
        "the standby stops receiving",
        on="database",
        victim="db2",
        breaks=f"{PSQL} -c \"ALTER SYSTEM SET primary_conninfo = ''\" -c 'SELECT pg_reload_conf()'",
        mends=f"{PSQL} -c 'ALTER SYSTEM RESET primary_conninfo' -c 'SELECT pg_reload_conf()'",
        kills=(
            "test_the_database_has_a_copy_at_the_other_site",
            "test_what_is_written_arrives_at_the_other_site_at_once",
        ),
        settle=6,
    ),
    Sabotage(
        "the line between the databases is cut",
        on="database",
        victim="db2",
        breaks="nft add table inet sabotage && nft 'add chain inet sabotage out { type filter hook output priority -5; }'"
        f" && nft add rule inet sabotage out tcp dport {SERVICES['postgres'].port} drop",
        mends="nft delete table inet sabotage",
        kills=("test_what_is_written_arrives_at_the_other_site_at_once",),
        settle=10,
    ),
    Sabotage(
        "anybody may copy the database, and a dead site may fill the volume",
        on="database",
        victim="db1",
        breaks=f"cp -a {HBA} /run/sabotage.hba && (echo 'hostssl replication replicator all trust'; cat /run/sabotage.hba) > {HBA}"
        f" && {PSQL} -c \"ALTER SYSTEM SET max_slot_wal_keep_size = '-1'\" -c 'SELECT pg_reload_conf()'",
        mends=f"cat /run/sabotage.hba > {HBA} && rm /run/sabotage.hba && {PSQL} -c 'ALTER SYSTEM RESET max_slot_wal_keep_size'"
        " -c 'SELECT pg_reload_conf()'",
        kills=("test_the_database_has_a_copy_at_the_other_site", "test_nobody_else_may_copy_the_database"),
        settle=1,
    ),
)
