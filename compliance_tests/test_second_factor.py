# SPDX-License-Identifier: Apache-2.0
"""Who uses the CRM proves it twice: by a password, and by a one-time code that only their own device can compute."""

import pytest
from asking import PSQL, ask, primary_database
from test_application import CONF, of_the_crm, setting

from jinku.evidence.sabotage import Sabotage

KEY = "/etc/jinku/crm/factor.key"
SCRIPT = "crm_second_factor.py"
FACTOR = "/usr/lib/jinku/crm/trytond_jinku_login/factor.py"
USER = "/usr/lib/jinku/crm/trytond_jinku_login/user.py"


@pytest.fixture
def database(fleet, topology):
    """The machine that holds the CRM's data."""
    return primary_database(fleet, topology)


def told(host):
    """What came of each try of asked/crm_second_factor.py; of what is tried several times, of the last."""
    return dict(line.split("=", 1) for line in ask(host, SCRIPT, user="tryton", timeout=90).splitlines())


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_users_of_the_crm_prove_themselves_twice(host):
    """The item demands two techniques, one of them cryptographic: each way in asks for the password first and ends with a one-time code.

    zh: 用户须以两种以上技术（其一为密码技术）鉴别：每种登录方式均先验证口令，再验证动态口令。
    """
    ways = setting(host, "session", "authentications").split(",")
    assert all(way.split("+")[0] != "totp" and way.endswith("+totp") for way in ways), (
        f"one technique is enough: {', '.join(ways)}"
    )
    assert host.check_output(f"stat -c '%U %a' {KEY}") == "tryton 600", "others read the key of the one-time codes"


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_nobody_has_come_in_without_a_second_factor(database):
    """Each person with an open session has shown a code: the CRM holds the time step of the last one that it took.

    zh: 凡有在线会话的用户均已通过动态口令鉴别（数据库中留有其最近一次动态口令的时间步）。
    """
    without = of_the_crm(
        database,
        "select distinct u.login from ir_session s join res_user u on u.id = s.create_uid"
        ' left join res_user_factor f on f."user" = u.id where f.last_step is null',
    )
    assert not without, f"in with one factor: {', '.join(without)}"


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_a_password_alone_opens_nothing_and_a_code_opens_once(host):
    """Tried by the CRM's own code: no session without a code, with a wrong one, one of earlier, one that was used; guessing ends in a lock.

    zh: 以应用自身代码实际尝试（事务回滚）：仅有口令、动态口令错误、过期或已用过，均不能登录；连续猜测被锁定；首次登录须先设置动态口令。
    """
    said = told(host)
    assert said["the first code"] == said["the next code"] == "in", f"a right code is refused: {said}"
    assert said["password alone, at first"] == "asks for totp_setup", said["password alone, at first"]
    assert said["password alone"] == "asks for totp_code", said["password alone"]
    for what in (
        "a wrong code at enrolment",
        "the same code again",
        "an older code",
        "a code of later",
        "a code and a wrong password",
        "a code and no password",
    ):
        assert said[what] == "refused", f"{what}: {said[what]}"
    assert said["the same code as one of the enrolment"] == "asks for totp_code", "a second enrolment"
    assert said["many wrong codes"] == "RateLimitException", f"codes can be guessed: {said['many wrong codes']}"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_a_login_that_is_no_text_counts_as_a_wrong_one(host):
    """A number, a list or broken text in the place of a login, a password or a code ends in no error of the program: a guess that no count sees.

    zh: 登录名、口令或动态口令不是有效文本（数字、空值、列表、对象、残缺字符等）时，与口令错误同样被拒绝并计入失败次数。
    """
    said = told(host)
    wrong = said["a wrong text for a password"]
    assert wrong == "refused and counted", f"a wrong password: {wrong}, so that the same of others would prove nothing"
    odd = ("a number", "nothing", "a list", "an object", "half a character")
    for what in (
        *(f"{kind} for a {answer}" for answer in ("login", "password") for kind in odd),
        "a zero byte for a login",
        "a very long text for a password",
        "a list for a code",
        "nothing for all answers",
        "a list for all answers",
    ):
        assert said[what] == "refused and counted", f"{what}: {said[what]}"


@pytest.mark.control("dengbao:8.1.4.1.d", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_the_secret_of_a_one_time_code_is_shown_once_and_kept_from_everybody(host):
    """Neither administrators nor the database hold it; only another administrator resets it, and who enrols too late does not enrol.

    zh: 动态口令密钥仅设置时显示；管理员、接口与数据库均读不到；仅其他管理员可重置；逾期未设置者不能自行设置。
    """
    said = told(host)
    assert said["the secret again"] == "kept", "the secret is shown after it was set up"
    assert said["what an administrator reads"] == "False", f"an administrator: {said['what an administrator reads']}"
    by_record = said["the record of it by an administrator"]
    assert by_record == "AccessError", f"an administrator reads the record: {by_record}"
    assert said["methods from outside"] == "0", "the record of a second factor answers from outside"
    assert said["the database"] == "keeps no secret"
    assert said["reset by anybody"] == "AccessError", f"anybody resets it: {said['reset by anybody']}"
    own = said["reset by an administrator of oneself"]
    assert own == "AccessError", f"whoever has an administrator's session makes a second factor out of it: {own}"
    assert said["password alone, before the reset"] == "asks for totp_code", "a reset that was refused was done"
    assert said["reset by an administrator"] == "done", said["reset by an administrator"]
    assert said["password alone, after the reset"] == "asks for totp_setup"
    assert said["the secret after the reset"] == "another"
    assert said["an enrolment that comes too late"] == "refused"


@pytest.mark.control("dengbao:8.1.4.1.d", "dengbao:8.1.4.2.a", "iso27001:A.8.5", "iso27001:A.5.17")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_nobody_reads_the_session_or_the_password_of_somebody_else(host):
    """A session's key opens the CRM without any factor: neither by itself nor through a note is it read, nor hashes, passwords, others' wizards.

    zh: 会话密钥等同于已通过身份鉴别：任何人（包括管理员）均不能直接或经备注引用读取会话密钥、设备标识、口令摘要、临时口令或他人在向导中输入的内容。
    """
    said = told(host)
    own = said["an own wizard through a note by anybody"]
    assert own == "read", f"not even an own wizard is read through a note: {own}, so a refusal would prove nothing"
    for who in ("anybody", "an administrator"):
        assert said[f"wizards by {who}"] == "0", f"{who} finds the wizards of others: {said[f'wizards by {who}']}"
    for what in (
        "a wizard through a note by anybody",
        "a wizard through a note by an administrator",
        "a wizard by anybody",
        "a wizard by an administrator",
        "a session through a note by anybody",
        "sessions by anybody",
        "sessions by an administrator",
        "res.user.device by anybody",
        "res.user.login.attempt by anybody",
        "password_hash by anybody",
        "password_hash searched by anybody",
        "password_reset by anybody",
        "password_reset searched by anybody",
    ):
        assert said[what] == "AccessError", f"{what}: {said[what]}"


CHANGE = f"{PSQL} -v ON_ERROR_STOP=1 -d crm"
#: What others read when one record of jinku_login (user.xml) does not hold: each kind of defence once. Its table, its name, how it stands.
READ = (
    ("sessions", "ir_model_access", "access_session", "false"),
    ("the hashes of passwords", "ir_model_field_access", "access_password_hash", "false"),
    ("what others have typed into wizards", "ir_rule_group", "rule_group_wizard", "true"),
)
READS = (
    f'{CHANGE} -c "update {{table}} set perm_read = {{value}} where id ='
    " (select db_id from ir_model_data where module = 'jinku_login' and fs_id = '{record}')\""
)
SAVE = f"cp -a {FACTOR} /run/sabotage.factor"
# The CRM never read what was changed; that it was put back shows in its files' times only.
AGAIN = "systemctl restart jinku-crm.service"
BACK = f"cp -a /run/sabotage.factor {FACTOR}; rm -f /run/sabotage.factor; {AGAIN}"
SABOTAGE = (
    Sabotage(
        "a password is enough, and everybody reads the key of the codes",
        on="application",
        breaks=f"cp -a {CONF} /run/sabotage.conf && sed -i 's/^authentications = .*/authentications = password/' {CONF} && chmod 644 {KEY}",
        mends=f"cp -a /run/sabotage.conf {CONF}; rm -f /run/sabotage.conf; chmod 600 {KEY}; {AGAIN}",
        kills=(
            "test_users_of_the_crm_prove_themselves_twice",
            "test_a_password_alone_opens_nothing_and_a_code_opens_once",
        ),
    ),
    Sabotage(
        "somebody came in with one factor",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c \"insert into res_user (id, login, name, active, menu) select max(id) + 1000, 'sabotage', 'sabotage', true, min(menu)"
        " from res_user\" -c \"insert into ir_session (id, key, create_uid, create_date) select coalesce(max(s.id), 0) + 1000, 'sabotage', max(u.id),"
        " current_timestamp at time zone 'UTC' from res_user u left join ir_session s on true where u.login = 'sabotage'\"",
        mends=f"{CHANGE} -c \"delete from ir_session where key = 'sabotage'\" -c \"delete from res_user where login = 'sabotage'\"",
        kills=("test_nobody_has_come_in_without_a_second_factor",),
    ),
    *(
        Sabotage(
            f"everybody reads {what}",
            on="application",
            where="database",
            breaks=READS.format(table=table, record=record, value=f"not {value}"),
            mends=READS.format(table=table, record=record, value=value),
            kills=("test_nobody_reads_the_session_or_the_password_of_somebody_else",),
        )
        for what, table, record, value in READ
    ),
    Sabotage(
        "the CRM believes every code",
        on="application",
        breaks=f"{SAVE} && printf '\\nFactor.shown = classmethod(lambda cls, user, parameters: True)\\n' >> {FACTOR}",
        mends=BACK,
        kills=("test_a_password_alone_opens_nothing_and_a_code_opens_once",),
    ),
    Sabotage(
        "a code is good as often as it is shown",
        on="application",
        breaks=f"{SAVE} && sed -i -e 's/last_counter=last_step/last_counter=None/' -e 's/table.last_step < step/table.last_step < step + 9/' {FACTOR}",
        mends=BACK,
        kills=("test_a_password_alone_opens_nothing_and_a_code_opens_once",),
    ),
    Sabotage(
        "the record of a second factor answers from outside, and may be enrolled at any time",
        on="application",
        breaks=f"{SAVE} && sed -i -e '/__rpc__ = /d' -e 's/until < _now()/False/' {FACTOR}",
        mends=BACK,
        kills=("test_the_secret_of_a_one_time_code_is_shown_once_and_kept_from_everybody",),
    ),
    Sabotage(
        "administrators reset their own second factor, and what is no text ends in an error",
        on="application",
        breaks=f"cp -a {USER} /run/sabotage.user && sed -i -e 's/if Transaction().user in .*/if False:/' -e 's/_text(login)/login/'"
        f" -e 's/_text(answer) for/answer for/' {USER}",
        mends=f"cp -a /run/sabotage.user {USER}; rm -f /run/sabotage.user; {AGAIN}",
        kills=(
            "test_the_secret_of_a_one_time_code_is_shown_once_and_kept_from_everybody",
            "test_a_login_that_is_no_text_counts_as_a_wrong_one",
        ),
    ),
)
