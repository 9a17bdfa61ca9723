# SPDX-License-Identifier: Apache-2.0
"""Backups: young, encrypted, at another site, out of reach of what they are copies of, and they come back."""

import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from asking import listeners, primary_database
from backups import PROGRAM, listed

from jinku.evidence.sabotage import Sabotage

CANARY = "jinku-canary-" + secrets.token_hex(12)
VOLUME = "/var/lib/jinku-backup"
REPOSITORY = f"{VOLUME}/repository"
PGBACKREST = (
    "runuser -u jinku-backup -- pgbackrest --config=/etc/jinku/backup/pgbackrest.conf"
    " --config-include-path=/etc/jinku/backup/keys --stanza=main"
)
#: The first bytes of what zstd compresses.
COMPRESSED = "28 b5 2f fd"
#: A database beyond this is not restored by the way of a check, in bytes.
LARGE = 2 << 30


def age(text):
    return datetime.now(UTC) - datetime.fromisoformat(text)


def on_host(fleet, node, statement):
    return fleet.host(node.name).check_output("runuser -u postgres -- psql -XAtq -d postgres -c %s", statement)


def on_the_database(fleet, topology, statement):
    return primary_database(fleet, topology).check_output(
        "runuser -u postgres -- psql -XAtq -d postgres -c %s", statement
    )


@pytest.mark.control("dengbao:8.1.4.9.a", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.setting
def test_every_kind_of_copy_is_young(host):
    """A whole copy of the database within eight days, one of what changed within 26 hours; so also attachments and vault.

    zh: 数据库全量备份不超过八天、增量不超过 26 小时；附件与密钥库备份不超过 26 小时。
    """
    found = listed(host)
    assert found["database"], "there is no copy of the database"
    full = [one for one in found["database"] if one["type"] == "full"]
    assert full, "there is no whole copy of the database"
    assert min(age(one["finished"]) for one in full) < timedelta(days=8)
    assert min(age(one["finished"]) for one in found["database"]) < timedelta(hours=26)
    for kind in ("attachments", "vault"):
        assert found[kind], f"there is no copy of {kind}"
        assert min(age(one["time"]) for one in found[kind]) < timedelta(hours=26), f"{kind}: too old"


@pytest.mark.control("dengbao:8.1.4.9.a", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.behaviour
def test_the_newest_copy_comes_back(host, fleet, topology):
    """Restored beside the repository and opened, the database is the one that runs, to the last change; attachments and vault open too.

    zh: 在备份主机上恢复并打开最新副本：数据库与生产一致至最后一笔变更，附件与密钥库快照可读。
    """
    listed(host)
    size = int(on_the_database(fleet, topology, "select sum(pg_database_size(oid)) from pg_database"))
    if size > LARGE:
        pytest.skip("the database is too large to be restored by the way of a check; `jinku restore`")
    identity = "select system_identifier from pg_control_system()"
    alive = on_the_database(fleet, topology, identity)
    restored = host.run(f"{PROGRAM} restore --beside-none", timeout=300)
    if "restored copy lies there" in restored.stderr or "is being restored or removed now" in restored.stderr:
        pytest.skip(restored.stderr.strip())
    try:
        assert restored.rc == 0, restored.stderr.strip()
        told = json.loads(restored.stdout)
        ask = "psql -XAtq -h /run/jinku-backup-scratch -U postgres"
        assert host.check_output(f"{ask} -d postgres -c '{identity}'") == alive
        tables = "select count(*) from pg_class where relkind = 'r'"
        assert int(host.check_output(f'{ask} -d crm -c "{tables}"')) > 100, "the CRM's tables did not come back"
        assert told["vault"][0]["index"] > 0
        assert told["attachments"], "no attachments came back"
    finally:
        host.run(f"{PROGRAM} discard", timeout=60)


@pytest.mark.control("dengbao:8.1.4.9.b", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.setting
def test_the_log_of_changes_goes_to_another_site_at_once(subject, fleet, topology):
    """The database streams its log of changes to a backup host at another site, which has all of it on its disk.

    zh: 数据库变更日志实时流式传输到另一站点的备份主机，并已全部落盘。
    """
    primary = next(
        node for node in topology.nodes_of("postgres") if on_host(fleet, node, "select pg_is_in_recovery()") == "f"
    )
    assert primary.site != subject.site, "the backup host stands at the site of the database"
    rows = on_the_database(
        fleet,
        topology,
        "select state, pg_current_wal_flush_lsn() - flush_lsn < 16777216 from pg_stat_replication"
        " where application_name = 'backup'",
    ).splitlines()
    assert rows == ["streaming|t"], f"the stream to the backup host: {rows or 'none'}"
    slot = on_the_database(
        fleet, topology, "select active, wal_status from pg_replication_slots where slot_name = 'backup'"
    )
    assert slot == "t|reserved", f"what was not received yet is not kept: {slot or 'no slot'}"


@pytest.mark.control("dengbao:8.1.4.9.b", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.behaviour
def test_a_change_is_at_the_other_site_within_seconds(host, fleet, topology):
    """A mark written into the database's log of changes is found at the other site within five seconds.

    zh: 向数据库变更日志写入标记，五秒内可在另一站点查到。
    """
    mark = f"{CANARY}-{secrets.token_hex(4)}"
    on_the_database(fleet, topology, f"select pg_logical_emit_message(false, 'jinku', '{mark}', true)")
    look = f"for i in $(seq 20); do grep -rqF {mark} {VOLUME}/wal && exit 0; sleep 0.25; done; exit 1"
    assert host.run(look).rc == 0, "the mark did not arrive within five seconds"


@pytest.mark.control("dengbao:8.1.4.8.b", "iso27001:A.8.24")
@pytest.mark.objects("backup")
@pytest.mark.setting
def test_repositories_are_encrypted_with_a_key_that_only_the_keeper_reads(host):
    """The database's repository is enciphered with AES-256, restic's always is; key and volume are open to nobody else.

    zh: 数据库备份库采用 AES-256 加密，restic 库始终加密；密钥与备份卷仅备份账户可读。
    """
    info = json.loads(host.check_output(f"{PGBACKREST} --output=json info"))
    assert info[0]["cipher"] == "aes-256-cbc"
    for path in (
        "/etc/jinku/backup/keys/restic",
        "/etc/jinku/backup/keys/pgbackrest.conf",
        "/etc/jinku/backup/keys/key.json",
    ):
        assert host.file(path).mode & 0o077 == 0, f"{path}: others may read it"
        assert host.file(path).user in ("root", "jinku-backup")
    more = host.check_output(f"ls {VOLUME}/restic/keys").split()
    assert len(more) == 1, f"{len(more)} keys open the copies of attachments and vault"
    assert host.file(VOLUME).mode & 0o077 == 0, "others may read the volume"


@pytest.mark.control("dengbao:8.1.4.8.b", "iso27001:A.8.24")
@pytest.mark.objects("backup")
@pytest.mark.behaviour
def test_no_file_of_the_repositories_is_in_clear(host, fleet, topology):
    """A mark in the log of changes is not in the repository's files but in what comes out with the key; each file is enciphered.

    zh: 写入变更日志的标记在备份库原始文件中查不到，凭密钥取出后可查到；逐一检查文件均已加密。
    """
    mark = f"{CANARY}-{secrets.token_hex(4)}"
    on_the_database(fleet, topology, f"select pg_logical_emit_message(false, 'jinku', '{mark}', true)")
    segment = on_the_database(fleet, topology, "select pg_walfile_name(pg_switch_wal())")
    wait = f"for i in $(seq 60); do ls {REPOSITORY}/archive/main/*/*/{segment}-*.zst && exit 0; sleep 0.5; done; exit 1"
    found = host.run(wait, timeout=40)
    assert found.rc == 0, "the segment did not reach the repository"
    kept = found.stdout.split()[0]
    opened = host.check_output(f"{PGBACKREST} repo-get {kept.removeprefix(REPOSITORY + '/')} | head -c 4 | od -An -tx1")
    assert opened.split() == COMPRESSED.split(), (
        "with the key a compressed segment must come out, else nothing is proven"
    )
    assert host.run(f"grep -rlF -e {mark} -e crm_owner {REPOSITORY} {VOLUME}/restic").stdout == ""
    # in a bundle, and in a file kept by blocks, many parts follow each other without the cipher's magic; in clear their heads would show
    search = (
        f"find {REPOSITORY} -type f ! -size 0 ! -path '*/bundle/*' ! -name '*.pgbi' -exec sh -c"
        ' \'for f; do head -c 8 "$f" | grep -q ^Salted__ || echo "$f"; done\' sh {} +;'
        f" find {REPOSITORY} -type f \\( -path '*/bundle/*' -o -name '*.pgbi' \\) -exec sh -c"
        ' \'for f; do n=$(head -c 16777216 "$f" | LC_ALL=C grep -aoP "\\x28\\xb5\\x2f\\xfd" | wc -l);'
        ' [ $n -lt 3 ] || echo "$f"; done\' sh {} +;'
        # enciphered bytes are not all printable; a NUL alone would be missing from every fifth of the smallest files by chance
        f" find {VOLUME}/restic -type f ! -path '*/keys/*' ! -path '*/locks/*' -exec sh -c"
        ' \'for f; do LC_ALL=C grep -qaP "[^\\x09-\\x0d\\x20-\\x7e]" "$f" || echo "$f"; done\' sh {} +; true'
    )
    clear = host.check_output(search)
    assert clear == "", f"in clear: {clear[:300]}"


@pytest.mark.control("dengbao:8.1.10.11.b", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.setting
def test_schedule_and_retention_are_what_was_decided(host, topology):
    """Timers and retention on the backup host are what environment.yaml says: kind, day, hour and days kept.

    zh: 备份主机上的定时与保留期同 environment.yaml 的规定一致。
    """
    wanted = topology.env.backup
    for kind, days in (
        ("full", wanted.full_day),
        ("attachments", "*"),
        ("vault", "*"),
        ("incremental", ""),
        ("verify", wanted.full_day),
    ):
        timer = host.check_output(f"systemctl show -P ActiveState -P TimersCalendar jinku-backup-{kind}.timer")
        assert "active" in timer.splitlines(), f"{kind}: the timer does not run"
        later = {"full": 0, "incremental": 0, "verify": 4}.get(kind, 1)
        assert f" {(wanted.hour + later) % 24:02d}:00:00" in timer, f"{kind}: {timer}"
        if kind in ("full", "verify"):
            assert f"={days} " in timer, f"{kind}: {timer}"
    assert host.check_output("systemctl is-active jinku-backup-health.timer") == "active"
    # In whatever section and however indented: pgBackRest takes the most special.
    kept = host.check_output("cat /etc/jinku/backup/pgbackrest.conf | tr -d ' \\t' | grep retention").splitlines()
    assert kept == ["repo1-retention-full-type=time", f"repo1-retention-full={wanted.keep_days}"]
    assert json.loads(host.check_output("cat /etc/jinku/backup/settings.json"))["keep_days"] == wanted.keep_days


@pytest.mark.control("dengbao:8.1.10.11.b", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.behaviour
def test_the_schedule_runs_and_what_is_too_old_goes(host, topology):
    """No kind's last run failed, and no copy is older than the days that were decided and one week; of the database, two.

    zh: 各类备份最近一次运行均成功；无超出保留期一周的副本（数据库为两周）。
    """
    found = listed(host)
    for kind in ("full", "incremental", "attachments", "vault", "verify"):
        said = host.check_output(f"systemctl show -P Result jinku-backup@{kind}.service")
        assert said == "success", f"{kind}: the last run: {said}"
    oldest = timedelta(days=topology.env.backup.keep_days + 8)
    for kind in ("attachments", "vault"):
        assert all(age(one["time"]) < oldest for one in found[kind]), f"{kind}: kept too long"
    # A whole copy stays until the one of a week later is old enough for the whole time that may be asked for.
    assert all(age(one["finished"]) < oldest + timedelta(days=7) for one in found["database"]), (
        "database: kept too long"
    )


@pytest.mark.control("dengbao:8.1.4.9.a", "iso27001:A.8.13")
@pytest.mark.objects("backup")
@pytest.mark.setting
def test_nobody_reaches_the_copies(host, topology, subject):
    """The backup host offers nothing but SSH, its numbers and a receiver for seals of logs; no host whose data it keeps may reach even that.

    zh: 备份主机仅开放 SSH、监控指标与日志摘要接收；被备份的主机均不得访问，无法读取、更改或删除副本。
    """
    offered = {
        port
        for protocol, address, port in listeners(host)
        if not address.startswith(("127.", "::1")) and protocol == "tcp"
    }
    assert offered <= {22, 9100, 6515}, f"the backup host offers more: {offered}"
    copied = {node.name for tier in ("postgres", "crm", "vault") for node in topology.nodes_of(tier)}
    sources = {pair.source for pair in topology.allowed() if pair.destination == subject.node}
    assert not copied & sources, f"may reach their own copies: {copied & sources}"


SABOTAGE = (
    Sabotage(
        "the newest copies vanish from the repositories",
        on="backup",
        breaks=f"mv {VOLUME}/repository/backup/main /run/sabotage.backups && mv {VOLUME}/restic/snapshots /run/sabotage.snapshots"
        f" && install -d -o jinku-backup -g jinku-backup -m 0700 {VOLUME}/restic/snapshots {VOLUME}/repository/backup/main"
        f" && cp -a /run/sabotage.backups/backup.info* {VOLUME}/repository/backup/main",
        mends=f"rm -rf {VOLUME}/repository/backup/main {VOLUME}/restic/snapshots && mv /run/sabotage.backups {VOLUME}/repository/backup/main"
        f" && mv /run/sabotage.snapshots {VOLUME}/restic/snapshots",
        kills=("test_every_kind_of_copy_is_young",),
    ),
    Sabotage(
        "a whole copy is damaged on the disk",
        on="backup",
        breaks=f"f=$(find {VOLUME}/repository/backup/main/2* -path '*bundle*' -type f -printf '%s %p\\n' | sort -n | tail -1 | cut -d' ' -f2)"
        " && echo $f > /run/sabotage.name && cp -a $f /run/sabotage.bundle && truncate -s 4096 $f",
        mends="cp -a /run/sabotage.bundle $(cat /run/sabotage.name) && rm /run/sabotage.bundle /run/sabotage.name",
        kills=("test_the_newest_copy_comes_back",),
        nightly=True,
    ),
    Sabotage(
        "nobody receives the log of changes",
        on="backup",
        breaks="systemctl stop jinku-backup-wal.service",
        mends="systemctl start jinku-backup-wal.service",
        kills=(
            "test_the_log_of_changes_goes_to_another_site_at_once",
            "test_a_change_is_at_the_other_site_within_seconds",
        ),
        settle=1.0,
    ),
    Sabotage(
        "a file in clear lies in the repository, and everybody reads the key",
        on="backup",
        breaks=f"echo an innocent line > {VOLUME}/restic/data/clear && chmod 0644 /etc/jinku/backup/keys/restic",
        mends=f"rm {VOLUME}/restic/data/clear && chmod 0600 /etc/jinku/backup/keys/restic",
        kills=(
            "test_repositories_are_encrypted_with_a_key_that_only_the_keeper_reads",
            "test_no_file_of_the_repositories_is_in_clear",
        ),
    ),
    Sabotage(
        "a second key opens the copies of attachments and vault",
        on="backup",
        breaks=f"echo sabotage > {VOLUME}/restic/keys/sabotage",
        mends=f"rm {VOLUME}/restic/keys/sabotage",
        kills=("test_repositories_are_encrypted_with_a_key_that_only_the_keeper_reads",),
    ),
    Sabotage(
        "somebody changes the schedule, and a copy fails",
        on="backup",
        breaks="systemctl stop jinku-backup-full.timer && chmod 0000 /etc/jinku/backup/settings.json"
        " && ! systemctl start jinku-backup@vault.service",
        mends="chmod 0644 /etc/jinku/backup/settings.json && systemctl start jinku-backup-full.timer"
        " && systemctl start jinku-backup@vault.service",
        kills=(
            "test_schedule_and_retention_are_what_was_decided",
            "test_the_schedule_runs_and_what_is_too_old_goes",
        ),
    ),
    Sabotage(
        "the backup host offers a service",
        on="backup",
        breaks="systemd-run -q --unit=sabotage-listener python3 -m http.server 8432 --directory /run",
        mends="systemctl stop sabotage-listener",
        kills=("test_nobody_reaches_the_copies",),
        settle=2.0,
    ),
)
