# SPDX-License-Identifier: Apache-2.0
"""Who gets in, and how: SSH, passwords, lock-out, idle sessions."""

import re

import pytest
from asking import (
    KEEP_ACCOUNTS,
    NOBODYS_ADDRESS,
    PUT_ACCOUNTS_BACK,
    ask,
    pam_tries,
    people_on,
    ssh_attempt,
    sshd_setting,
)

from jinku.evidence.sabotage import Sabotage

# Weak by today's measure: broken or short hashes, CBC, small or NIST-less-than-256 groups (RFC 9142, BSI TR-02102-4).
WEAK = (
    "sha1",
    "md5",
    "-cbc",
    "3des",
    "arcfour",
    "umac-64",
    "group1-",
    "group14-sha1",
    "group-exchange-sha1",
    "ssh-dss",
)
# The clause sets no number of tries; assessors expect five at most.
TRIES = 5
# The clause sets no time; assessors expect idle sessions to end within 30 minutes.
IDLE_SECONDS = 1800


def people(topology):
    return [operator.name for operator in topology.env.operators if operator.state == "present"]


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_sshd_takes_no_password_from_anybody(host, topology):
    """Sshd takes a password from nobody, also not within a Match block: what is left is cryptographic.

    zh: sshd 对任何账户（含 Match 块）均不接受口令，仅余密码技术鉴别。
    """
    strangers = [(user, NOBODYS_ADDRESS) for user in ("", "root", "automation", "nobody", *people(topology))]
    bastions = [(user, str(node.address)) for user in ("root", "nobody") for node in topology.nodes_of("bastion")]
    for user, address in strangers + bastions:
        setting = sshd_setting(host, user, address)
        who = f"{user or 'anybody'}, coming from {address}"
        assert setting["passwordauthentication"] == "no", f"a password is taken from {who}"
        assert setting["kbdinteractiveauthentication"] == "no", f"keyboard-interactive is taken from {who}"
        assert setting["permitemptypasswords"] == "no", f"an empty password is taken from {who}"


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_a_password_alone_opens_no_ssh_session(fleet, places, subject):
    """Who comes without a key is offered nothing but the key; a password typed over SSH would bypass it.

    zh: 未出示密钥的登录尝试只被要求出示密钥，仅凭口令无法建立会话。
    """
    code, offered, said = ssh_attempt(fleet, places, subject.node, "automation")
    assert offered, f"the attempt did not reach the point of authentication: {said.splitlines()[-1:]}"
    assert offered == {"publickey"}, f"offered: {', '.join(sorted(offered))}"
    assert code == 255, "a session opened without any proof"


@pytest.mark.control("dengbao:8.1.4.1.c", "dengbao:8.1.5.4.b", "iso27001:A.8.24")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_remote_management_uses_strong_cryptography_only(host):
    """Ciphers, key exchange and MACs of sshd are all of today's strength.

    zh: sshd 的加密、密钥交换与完整性算法均为当前强度。
    """
    setting = sshd_setting(host)
    for name in ("ciphers", "kexalgorithms", "macs", "hostkeyalgorithms"):
        weak = [word for word in setting[name].split(",") if any(part in word for part in WEAK)]
        assert not weak, f"{name}: {', '.join(weak)}"


@pytest.mark.control("dengbao:8.1.4.1.c", "dengbao:8.1.5.4.b", "iso27001:A.8.24")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_an_eavesdropper_friendly_session_is_refused(fleet, places, subject):
    """A client that offers only a weak cipher, key exchange or MAC gets no session.

    zh: 仅支持弱算法的客户端无法建立管理会话。
    """
    for weak in ("Ciphers=aes128-cbc", "KexAlgorithms=diffie-hellman-group14-sha1", "MACs=hmac-sha1"):
        # An authenticated cipher carries its own MAC, so a weak MAC is only asked for beside a plain one.
        options = [weak, "Ciphers=aes256-ctr"] if weak.startswith("MACs") else [weak]
        code, offered, said = ssh_attempt(fleet, places, subject.node, "automation", *options)
        assert code != 0, f"{weak} was accepted"
        assert not offered, f"{weak} was accepted"
        assert "no matching" in said, f"{weak}: not refused for its weakness: {said.splitlines()[-1:]}"


@pytest.mark.control("dengbao:8.1.4.1.a", "iso27001:A.5.17")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_every_login_name_is_one_person(host):
    """No user id and no name stands twice, and no account has an empty password.

    zh: 用户标识与用户名唯一，且不存在空口令账户。
    """
    lines = [line.split(":") for line in host.check_output("getent passwd").splitlines()]
    for field, name in ((2, "user id"), (0, "name")):
        seen = [line[field] for line in lines]
        twice = sorted({one for one in seen if seen.count(one) > 1})
        assert not twice, f"{name} twice: {', '.join(twice)}"
    empty = host.check_output("awk -F: '$2 == \"\" {print $1}' /etc/shadow").split()
    assert not empty, f"empty password: {', '.join(empty)}"


@pytest.mark.control("dengbao:8.1.4.1.a", "iso27001:A.5.17")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_weak_passwords_are_refused(host):
    """The host's own password check refuses simple passwords and takes a strong one.

    zh: 主机口令策略拒绝弱口令，接受强口令。
    """
    weak = ("abc123", "12345678", "Password1!", "li-na-2026", "qwertyuiop")
    score = {
        word: int(number)
        for number, word in (
            line.split(maxsplit=1)
            for line in ask(host, "password_quality.py", "li-na", *weak, "vK7#tulmQe-92xd").splitlines()
        )
    }
    taken = [word for word in weak if score[word] >= 0]
    assert not taken, f"taken: {', '.join(taken)}"
    assert score["vK7#tulmQe-92xd"] >= 0, "not even a strong password is taken, so the check proves nothing"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.setting
def test_idle_sessions_end(host, topology, subject):
    """An idle SSH session is closed by sshd, and an idle shell by itself; nobody may switch that off.

    zh: 空闲 SSH 会话由 sshd 关闭，空闲终端自动退出，用户无法取消。
    """
    for user in (operator.name for operator in people_on(topology, subject.node)):
        # `session=` alone would not do: running sessions are called session:shell and session:command.
        channels = sshd_setting(host, user).get("channeltimeout", "none")
        minutes = re.search(r"session:\*=(\d+)m", channels)
        assert minutes, f"sshd never closes an idle session of {user}: {channels}"
        assert 0 < int(minutes[1]) * 60 <= IDLE_SECONDS, f"sshd lets an idle session of {user} stand: {channels}"
        shell = host.check_output(f"runuser -u {user} -- bash -lic 'unset TMOUT; echo \"now $TMOUT\"' 2>/dev/null")
        seconds = int(shell.rpartition("now ")[2] or 0)
        assert 0 < seconds <= IDLE_SECONDS, f"an idle shell of {user} stays open ({seconds} s)"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("host")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_guessing_locks_the_account(host):
    """After five wrong passwords PAM says that the account is locked, and no longer listens.

    zh: 连续五次口令错误后账户被锁定。
    """
    wrong = [f"wrong-{number}" for number in range(TRIES + 1)]
    tries = pam_tries(host, "sshd", "nobody", wrong, after="faillock --user nobody --reset")
    assert all(code != 0 for code, _ in tries), "a wrong password was taken"
    assert "locked" in tries[-1][1], f"still listening after {TRIES} wrong passwords"


SABOTAGE = (
    Sabotage(
        "sshd takes passwords",
        on="host",
        breaks="printf 'PasswordAuthentication yes\\nKbdInteractiveAuthentication yes\\nAuthenticationMethods any\\n'"
        " > /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        mends="rm -f /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        kills=("test_sshd_takes_no_password_from_anybody", "test_a_password_alone_opens_no_ssh_session"),
    ),
    Sabotage(
        "sshd takes passwords from one address, in a Match block",
        on="host",
        breaks="printf 'Match Address 10.0.0.0/8 User nobody\\n  PasswordAuthentication yes\\n' > /etc/ssh/sshd_config.d/99-sabotage.conf"
        " && systemctl reload ssh",
        mends="rm -f /etc/ssh/sshd_config.d/99-sabotage.conf && systemctl reload ssh",
        kills=("test_sshd_takes_no_password_from_anybody",),
    ),
    Sabotage(
        "sshd takes weak algorithms",
        on="host",
        breaks="printf 'Ciphers +aes128-cbc\\n' > /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        mends="rm -f /etc/ssh/sshd_config.d/00-sabotage.conf && systemctl reload ssh",
        kills=(
            "test_remote_management_uses_strong_cryptography_only",
            "test_an_eavesdropper_friendly_session_is_refused",
        ),
    ),
    Sabotage(
        "an account without password, and a weak password policy",
        on="host",
        breaks=f"{KEEP_ACCOUNTS} && cp -a /etc/security/pwquality.conf /run/sabotage.pwquality && echo 'minlen = 4\nminclass = 0\ndictcheck = 0\n"
        "usercheck = 0\nmaxsequence = 0\nmaxrepeat = 0' > /etc/security/pwquality.conf"
        " && useradd -M sabotage && passwd -qd sabotage",
        mends=f"{PUT_ACCOUNTS_BACK}; cp -a /run/sabotage.pwquality /etc/security/pwquality.conf && rm /run/sabotage.pwquality",
        kills=("test_every_login_name_is_one_person", "test_weak_passwords_are_refused"),
    ),
    Sabotage(
        "no lock-out and no idle limit",
        on="host",
        breaks="cp -a /etc/security/faillock.conf /run/sabotage.faillock && echo 'deny = 100' > /etc/security/faillock.conf"
        " && mv /etc/profile.d/jinku.sh /run/sabotage.profile",
        mends="cp -a /run/sabotage.faillock /etc/security/faillock.conf && mv /run/sabotage.profile /etc/profile.d/jinku.sh"
        " && rm /run/sabotage.faillock && faillock --user nobody --reset",
        kills=("test_guessing_locks_the_account", "test_idle_sessions_end"),
    ),
)
