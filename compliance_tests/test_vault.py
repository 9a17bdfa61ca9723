# SPDX-License-Identifier: Apache-2.0
"""OpenBao: what each policy allows, that everything is recorded twice, and that nobody is root."""

import json
import secrets
import time

import pytest
from hvac.exceptions import VaultError as HvacError
from test_database import arrived
from vault_sabotage import VAULT_FOLDER, by_the_manager

from jinku.evidence.sabotage import Sabotage
from jinku.vault import check_expectations

TOKEN = secrets.token_hex(6)
AUDIT_FILES = ("/var/log/openbao/audit.log", "/var/lib/openbao/audit/audit.log")
# Paths that hold or hand out what only one machine may have.
SECRETS = ("database/static-creds/crm", "sys/raw/core/master", "sys/storage/raft/snapshot")


def asked(observe, subject, client, method, path, **data):
    """One request to the vault, on record: the answer's data, or the name of the refusal."""
    began = time.time()
    try:
        answer = (
            client.adapter.request(method, f"/v1/{path}", json=data or None) if method != "get" else client.read(path)
        )
        said = answer if isinstance(answer, dict) else {"status": getattr(answer, "status_code", None)}
        text = json.dumps(said.get("data", said), ensure_ascii=False, default=str)
    except HvacError as error:
        said, text = type(error).__name__, f"{type(error).__name__}: {error}"
        if "unsupported operation" in text.lower() or "405" in text:
            said = "HTTP 405"
    observe(subject.node, f"OpenBao: {method.upper()} {path}", text, 0 if isinstance(said, dict) else 1, began=began)
    return said


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.e", "dengbao:8.1.4.2.a", "iso27001:A.8.2", "iso27001:A.5.15")
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_each_policy_allows_what_its_expectation_says(vault, subject, observe):
    """The running vault is asked what each policy allows at each path; it is what the expectation says, not more and not less.

    zh: 逐条询问运行中的密钥库各策略的实际权限，与预期完全一致。
    """
    began = time.time()
    differences = check_expectations(vault.fleet, vault("manager"))
    text = "\n".join(map(str, differences)) or "every policy allows exactly what vault_policies/*.expect.yaml says"
    observe(
        subject.node,
        "OpenBao: sys/capabilities of every policy at every expected path",
        text,
        len(differences),
        began=began,
    )
    assert not differences, str(differences[0])


@pytest.mark.control("dengbao:8.1.4.2.d", "dengbao:8.1.4.2.e", "dengbao:8.1.4.2.a", "iso27001:A.8.2", "iso27001:A.5.15")
@pytest.mark.objects("vault")
@pytest.mark.behaviour
def test_duties_are_refused_what_is_not_theirs(vault, subject, observe):
    """Tried: the manager reads no application's secret, the auditor changes nothing, and neither takes a snapshot of the store.

    zh: 实际尝试：管理员读不到应用口令，审计员不能更改任何内容，二者均不能导出存储快照。
    """
    for duty in ("manager", "audit"):
        for path in SECRETS:
            assert asked(observe, subject, vault(duty), "get", path) == "Forbidden", f"{duty} reads {path}"
    # What would change something is asked and not done: a check leaves no trace, not even in a vault that is open.
    for duty, paths in (
        (
            "audit",
            ("sys/policies/acl/audit", "sys/mounts/other", "auth/operators/certs/audit", "pki_int/roles/host-other"),
        ),
        ("manager", ("auth/operators/certs/manager", "sys/audit/volume", "sys/mounts/other")),
    ):
        said = asked(observe, subject, vault(duty), "post", "sys/capabilities-self", paths=list(paths))["data"]
        may = {path for path in paths if set(said[path]) & {"create", "update", "delete", "root"}}
        assert not may, f"{duty} may change {', '.join(sorted(may))}"


@pytest.mark.control("dengbao:8.1.4.2.b", "dengbao:8.1.4.1.d", "iso27001:A.8.2")
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_nobody_holds_a_root_token(vault, subject, observe, places, label, host):
    """No login method hands out the policy root, and the root token of the initialisation is gone from the controller.

    zh: 任何登录方式均不授予 root 策略，初始化时的根令牌已撤销并从控制机移除。
    """
    assert not (places.vault / "root-token").exists(), "the root token of the initialisation is still kept"
    names = asked(observe, subject, vault("audit"), "list", "auth/operators/certs")["data"]["keys"]
    for name in names:
        given = asked(observe, subject, vault("audit"), "get", f"auth/operators/certs/{name}")["data"]["token_policies"]
        assert "root" not in given, f"{name} logs in as root"
    mode = host.check_output("cat /etc/jinku/unseal-mode").splitlines()[0]
    open_ = host.check_output("find /var/lib/openbao/seal -perm /077 -print -quit")
    assert not open_, f"others come near the key that opens the vault: {open_}"
    if mode == "static":
        label(
            "unseal",
            "The vault opens itself with a key that lies on its own host (static seal): for the lab only.",
            "密钥库使用存放在本机的静态密钥自动解封：仅限实验环境。",
        )


@pytest.mark.control("dengbao:8.1.4.2.b", "dengbao:8.1.4.1.d", "iso27001:A.8.2")
@pytest.mark.objects("vault")
@pytest.mark.behaviour
def test_without_a_certificate_there_is_no_way_in(vault, subject, observe):
    """Nobody makes a root token without the shares, a default token opens nothing, and a login without a certificate is refused.

    zh: 未持份额不能生成根令牌，默认令牌无效，未出示证书不能登录。
    """
    nobody = vault("")
    for method, path, data in (
        ("put", "sys/generate-root/attempt", {}),
        ("put", "sys/rekey/init", {"secret_shares": 1, "secret_threshold": 1}),
        ("put", "sys/rotate/root/init", {"secret_shares": 1, "secret_threshold": 1}),
        ("put", "sys/rotate/recovery/init", {"secret_shares": 1, "secret_threshold": 1}),
        ("post", "auth/operators/login", {"name": "manager"}),
        ("post", "auth/hosts/login", {}),
    ):
        said = asked(observe, subject, nobody, method, path, **data)
        assert isinstance(said, str), f"{path} is answered without proof: {said}"
        assert said in ("Forbidden", "InvalidRequest", "InvalidPath", "HTTP 405"), (
            f"{path} without proof: not refused but {said}"
        )
    for guess in ("root", "token", "dev-only-token"):
        assert (
            asked(observe, subject, vault.door.client(token=guess), "get", "auth/token/lookup-self") == "Forbidden"
        ), f"token {guess!r} is taken"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.d", "iso27001:A.8.15")
@pytest.mark.objects("vault")
@pytest.mark.setting
def test_everything_is_recorded_twice(vault, subject, observe, host):
    """Two audit devices are on, on two files, so that one full disk neither stops the vault nor blinds it; nobody else writes them, and only auditors read them.

    zh: 启用两个审计设备，分别写入不同文件；其他账户不能写入，仅审计组可读。
    """
    devices = asked(observe, subject, vault("audit"), "get", "sys/audit")["data"]
    files = {device["options"].get("file_path") for device in devices.values()}
    assert len(devices) >= 2, f"{len(devices)} audit device(s)"
    assert len(files) == len(devices), "two devices write to one file"
    # The vault makes and renames snapshots meanwhile: what is gone before it was looked at ends find with an error, and is nothing odd.
    odd = host.check_output(
        "find /var/lib/openbao /var/log/openbao -name lost+found -prune -o ! -type l \\( ! -user openbao -o -perm /027 \\) -print -quit"
        " 2>/dev/null; test -d /var/lib/openbao -a -d /var/log/openbao"
    )
    assert not odd, f"others come near the records, or what they are about: {odd}"


@pytest.mark.control("dengbao:8.1.4.3.a", "dengbao:8.1.4.3.d", "iso27001:A.8.15")
@pytest.mark.objects("vault")
@pytest.mark.behaviour
def test_a_refused_request_is_in_both_records_and_at_the_log_tier(vault, subject, observe, host, fleet, topology):
    """A refused read is found in both files and at the log tier, with time, certificate's name, source, path and refusal.

    zh: 一次被拒的读取在两份审计文件与日志层中均可查到，含时间、身份、来源、路径与结果。
    """
    assert asked(observe, subject, vault("audit"), "get", f"database/static-creds/{TOKEN}") == "Forbidden"
    for file in AUDIT_FILES:
        found = host.run(f'grep -h {TOKEN} {file} | grep \'"type":"response"\' | tail -n 1')
        assert TOKEN in found.stdout, f"not in {file}"
        record = json.loads(found.stdout)
        assert record["time"], "no time"
        assert record["auth"]["display_name"], "no user"
        assert record["request"]["remote_address"], "no source"
        assert "permission denied" in record["error"], "no result"
    assert arrived(fleet, topology, subject.node, TOKEN), "not at the log tier"


POLICY_OF_AUDITORS = by_the_manager(
    "from jinku.vault.policies import policy_text\n"
    "client.write_data('sys/policies/acl/audit', data={'policy': policy_text('audit') + %r})"
)
ROOT_TOKEN = VAULT_FOLDER / "root-token"
SABOTAGE = (
    Sabotage(
        "the auditor's policy lets them read an application's secret",
        on="vault",
        where="controller",
        breaks=POLICY_OF_AUDITORS % 'path "database/*" { capabilities = ["read"] }',
        mends=POLICY_OF_AUDITORS % "",
        kills=("test_each_policy_allows_what_its_expectation_says", "test_duties_are_refused_what_is_not_theirs"),
    ),
    Sabotage(
        "the vault keeps one record only",
        on="vault",
        breaks='cp -a /etc/openbao/openbao.hcl /run/sabotage.hcl && sed -i \'/^audit "file" "forwarded"/,/^}/d\' /etc/openbao/openbao.hcl'
        " && systemctl restart openbao.service",
        mends="cp -a /run/sabotage.hcl /etc/openbao/openbao.hcl && rm /run/sabotage.hcl && systemctl restart openbao.service",
        kills=("test_everything_is_recorded_twice", "test_a_refused_request_is_in_both_records_and_at_the_log_tier"),
        settle=6.0,
    ),
    Sabotage(
        "the root token of the initialisation is kept",
        on="vault",
        where="controller",
        breaks=f"touch {ROOT_TOKEN}",
        mends=f"rm {ROOT_TOKEN}",
        kills=("test_nobody_holds_a_root_token",),
    ),
    Sabotage(
        "everybody reads the records, and who runs other services the key that opens the vault",
        on="vault",
        breaks="chmod 0644 /var/log/openbao/audit.log && chmod 0750 /var/lib/openbao/seal",
        mends="chmod 0640 /var/log/openbao/audit.log && chmod 0700 /var/lib/openbao/seal",
        kills=("test_everything_is_recorded_twice", "test_nobody_holds_a_root_token"),
    ),
    Sabotage(
        "anybody may start to make a root token",
        on="vault",
        breaks="cp -a /etc/openbao/openbao.hcl /run/sabotage.hcl && sed -i '/^listener \"tcp\" {/a disable_unauthed_generate_root_endpoints = false'"
        " /etc/openbao/openbao.hcl && systemctl restart openbao.service",
        mends="cp -a /run/sabotage.hcl /etc/openbao/openbao.hcl && rm /run/sabotage.hcl && systemctl restart openbao.service",
        kills=("test_without_a_certificate_there_is_no_way_in",),
        settle=6.0,
    ),
)
