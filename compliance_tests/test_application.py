# SPDX-License-Identifier: Apache-2.0
"""The CRM as its users meet it: through the edge, by its own interface; and what it keeps of them."""

import json
import secrets
import time
from urllib.parse import parse_qsl, urlsplit

import pytest
from asking import PSQL, as_user, ask, primary_database
from crm_client import Crm, CrmError, Door, RefusedError

from jinku.evidence.sabotage import Sabotage

TOKEN = secrets.token_hex(4)
# The clause gives no number of tries; assessors expect five at most. It gives no time; they expect 30 minutes at most.
TRIES = 5
IDLE_SECONDS = 1800
SHORTEST_PASSWORD = 8
# It asks for regular change and gives no time; assessors expect a quarter. What somebody else chose is for the first login only.
OLDEST_PASSWORD = 90 * 86400
LONGEST_LENT = 7 * 86400
#: How Tryton marks hashes that are salted and slow (passlib's names).
SLOW_HASHES = ("argon2", "argon2i", "argon2d", "argon2id", "scrypt", "bcrypt", "2a", "2b", "2y", "pbkdf2-sha512")
CONF = "/etc/jinku/crm/trytond.conf"
# Names of demonstrations and other products; "admin" is the CRM's own first user, who has to choose a password.
DEFAULT_NAMES = ("demo", "root", "guest", "test", "administrator", "user")
WELL_KNOWN = ("admin", "123456", "changeme")  # few, for each costs a slow hash a user


@pytest.fixture
def attempt(topology, places, subject, observe):
    """``attempt(user, password)``: log in as a browser would; what came of it, on record."""
    door = Door.of(topology, places)

    def tried(user, password):
        crm, began = Crm(door, "crm"), time.time()
        try:
            said = f"logged in as {crm.login(user, password)}"
            crm.logout()
        except CrmError as error:
            said = f"asks for {error.told[0]}" if error.name == "LoginException" else f"refused: {error.name}"
        except RefusedError as error:
            said = f"refused: {error.status}"
        except TimeoutError:
            said = "no answer"
        observe(
            subject.node,
            f"JSON-RPC common.db.login({user!r}) through the edge",
            said,
            int(said.startswith("refused")),
            began=began,
        )
        return said

    return tried


@pytest.fixture
def database(fleet, topology):
    """The machine that holds the CRM's data."""
    return primary_database(fleet, topology)


def of_the_crm(host, statement):
    return host.check_output(f"{PSQL} -d crm -c %s", statement).splitlines()


def rights(host):
    """What users of the CRM may do, tried by its own code in a transaction that is rolled back: what -> done or refusal."""
    said = ask(host, "crm_rights.py", user="tryton", timeout=60)
    return dict(line.rsplit("=", 1) for line in said.splitlines())


AS_THE_CRM = as_user("tryton")
SETTINGS = (
    "database uri",
    "cache clean_timeout",
    "password length",
    "password forbidden",
    "password reset_timeout",
    "jinku_login password_max_age",
    "session max_attempt",
    "session max_attempt_ip_network",
    "session timeout",
    "session authentications",
)


def setting(host, section, name):
    """A setting as the application reads it with its own program."""
    script = "import json, sys; from trytond.config import config; print(json.dumps({one: config.get(*one.split(), default='') for one in sys.argv[1:]}))"
    wanted = " ".join(f"'{one}'" for one in SETTINGS)
    told = host.check_output(f'{AS_THE_CRM} env TRYTOND_CONFIG={CONF} python3 -c "{script}" {wanted}')
    return json.loads(told)[f"{section} {name}"]


@pytest.mark.control("dengbao:8.1.4.1.a", "iso27001:A.5.17")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_every_user_of_the_crm_is_one_person_with_a_strong_password(host, database):
    """Names are unique, passwords are kept as slow salted hashes, are long, and have to be changed.

    zh: 用户名唯一，口令以加盐慢速散列保存，有长度与更换要求。
    """
    twice = of_the_crm(database, "select login from res_user where active group by login having count(*) > 1")
    assert not twice, f"names twice: {twice}"
    otherwise = of_the_crm(
        database,
        "select login from res_user where password_hash is not null"
        rf" and password_hash !~ '^\$({'|'.join(SLOW_HASHES)})\$'",
    )
    assert not otherwise, f"not kept as slow salted hashes: the passwords of {otherwise}"
    assert int(setting(host, "password", "length") or 0) >= SHORTEST_PASSWORD, "short passwords are taken"
    assert setting(host, "password", "forbidden"), "well-known passwords are taken"
    lasts = int(setting(host, "jinku_login", "password_max_age") or 0)
    assert 0 < lasts <= OLDEST_PASSWORD, f"a password has to be changed after {lasts} s"
    lent = int(setting(host, "password", "reset_timeout") or 0)
    assert 0 < lent <= LONGEST_LENT, f"a password that somebody else chose is good for {lent} s"


@pytest.mark.control("dengbao:8.1.4.1.a", "iso27001:A.5.17")
@pytest.mark.objects("application")
@pytest.mark.behaviour
@pytest.mark.ahead
def test_the_crm_takes_no_weak_password(host):
    """Tried by the CRM's own code: it takes a good password; none that is short, of one kind of letters, well known, or the own login.

    zh: 以应用自身代码实际尝试：强口令被接受；过短、字符种类单一、常见及含登录名的口令均被拒绝。
    """
    said = rights(host)
    assert said["a good password"] == "done", "not even a good password is taken, so a refusal proves nothing"
    for what in (
        "a short password",
        "a password of one kind",
        "a well-known password",
        "the own login as password",
    ):
        assert said[what] == "PasswordError", f"{what}: {said[what]}"


@pytest.mark.control("dengbao:8.1.4.1.a", "dengbao:8.1.4.2.b", "iso27001:A.5.17")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_default_names_and_passwords_open_no_session(attempt, host):
    """Names that such programs ship with are refused through the edge; each user's own hash is tried with well-known passwords.

    zh: 经边界以常见默认账户登录均被拒绝；以常见口令逐一验证现有用户的口令散列，均不匹配。
    """
    kept = dict(
        line.rsplit(maxsplit=1)
        for line in ask(host, "crm_default_passwords.py", *WELL_KNOWN, user="tryton", timeout=60).splitlines()
    )
    open_ones = [login for login, word in kept.items() if word != "none"]
    assert not open_ones, f"well-known password: {', '.join(open_ones)}"
    # A name that exists is not guessed at through the edge: each failure makes its owner wait. What is not there, is not let in.
    said = attempt(f"nobody-{TOKEN}", "admin")
    assert said.startswith("refused"), f"somebody who is not there: {said}"
    assert not set(DEFAULT_NAMES) & set(kept), f"default names: {', '.join(sorted(set(DEFAULT_NAMES) & set(kept)))}"


@pytest.mark.control("dengbao:8.1.4.2.b", "iso27001:A.8.2")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_no_default_password_is_kept(database):
    """Who has never chosen a password of their own cannot work: theirs is temporary and runs out.

    zh: 未自设口令的账户仅有限时临时口令，不能直接使用。
    """
    lasting = of_the_crm(
        database,
        "select login from res_user where active and password_hash is not null and password_temporary"
        " and password_until is null",
    )
    assert not lasting, f"a password that somebody else chose is good for ever: {lasting}"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_the_crm_limits_tries_and_ends_idle_sessions(host):
    """Five wrong passwords at most, and a session that nobody uses ends within half an hour.

    zh: 登录失败次数不超过五次，空闲会话三十分钟内结束。
    """
    assert 0 < int(setting(host, "session", "max_attempt") or 0) < TRIES, "guessing is not limited"
    assert 0 < int(setting(host, "session", "timeout") or 0) <= IDLE_SECONDS, "idle sessions stay open"


@pytest.mark.control("dengbao:8.1.4.1.b", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_guessing_is_stopped_and_a_stale_session_is_refused(attempt, topology, places, database):
    """After five wrong passwords a name is no longer listened to; a session that the server does not know opens nothing.

    zh: 连续五次口令错误后该账户名被限制；无效会话不能使用。
    """
    name = f"guess-{TOKEN}"
    counted = f"select count(*) from res_user_login_attempt where login = '{name}'"
    assert attempt(name, "wrong").startswith("refused"), "a guess was taken"
    assert of_the_crm(database, f"{counted} -- after one") == ["1"], "the CRM does not count a wrong password"
    # Each failure makes the CRM sleep twice as long as the one before, with a thread of its own: the other failures are
    # written for it, under a name that nobody has, and the running server is asked once more.
    try:
        of_the_crm(
            database,
            "insert into res_user_login_attempt (login, create_date) select"
            f" '{name}', current_timestamp at time zone 'UTC' from generate_series(2, {TRIES})",
        )
        assert attempt(name, "wrong again") == "refused: 429", f"still listening after {TRIES} wrong passwords"
    finally:
        of_the_crm(database, f"delete from res_user_login_attempt where login = '{name}'")
    crm = Crm(
        Door.of(topology, places),
        "crm",
    )
    stale = crm.send(
        "model.party.party.search", [[], 0, 1, None, {}], {"Authorization": "Session YWRtaW46MTpzdGFsZQ=="}
    )
    assert stale.status == 401 or "LoginException" in stale.body.decode() or stale.status == 403, (
        f"a made-up session is taken: {stale.status}"
    )


@pytest.mark.control("dengbao:8.1.4.2.e", "dengbao:8.1.4.2.f", "iso27001:A.8.3")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_rights_are_given_by_group_and_the_service_is_nobody(host, database):
    """Access to models is set for groups, and the application's processes belong to an account without a shell.

    zh: 按用户组设置模型访问权限；应用进程以无登录权限的专用账户运行。
    """
    late = setting(host, "cache", "clean_timeout")
    assert late == "0", f"a right that is taken away lasts up to {late or 300} s"
    rules = int(of_the_crm(database, 'select count(*) from ir_model_access where active and "group" is not null')[0])
    assert rules > 0, "no access right is given to any group"
    owners = set(host.check_output("ps -o user= -C uwsgi,uwsgi-core,uwsgi_python3 | sort -u; true").split()) or set(
        host.check_output("systemctl show jinku-crm.service -p User --value").split()
    )
    assert owners, "nothing runs"
    assert "root" not in owners, "the application runs as root"


@pytest.mark.control("dengbao:8.1.4.8.a", "dengbao:8.1.2.2.b", "iso27001:A.8.24")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_the_crm_knows_its_database_by_certificate_and_name(host):
    """The CRM connects by TLS only, to a server whose certificate is our CA's and bears its name.

    zh: 应用仅经 TLS 连接数据库，并校验服务器证书由内部 CA 签发且名称一致。
    """
    words = dict(parse_qsl(urlsplit(setting(host, "database", "uri")).query))
    assert words.get("sslmode") == "verify-full", f"sslmode: {words.get('sslmode')}"
    assert words.get("sslrootcert") == "/etc/jinku/tls/ca.pem", f"believes in {words.get('sslrootcert')}"


@pytest.mark.control("dengbao:8.1.4.2.e", "dengbao:8.1.4.2.f", "iso27001:A.8.3")
@pytest.mark.objects("application")
@pytest.mark.behaviour
def test_nothing_is_answered_without_a_session(topology, places, subject, observe):
    """Through the edge and without a session no record, no method and no list of databases is given.

    zh: 未登录时经边界不能读取任何记录、调用任何方法或列出数据库。
    """
    door = Door.of(topology, places)
    crm = Crm(door, "crm")
    for method, params in (
        ("model.party.party.search_read", [[], 0, 1, None, ["name"], {}]),
        ("model.res.user.search", [[], 0, 1, None, {}]),
        ("model.ir.model.access.read", [[1], ["model"], {}]),
        ("common.db.list_lang", []),
    ):
        began = time.time()
        answer = crm.send(method, params)
        text = answer.body.decode(errors="replace")[:200]
        observe(
            subject.node,
            f"JSON-RPC {method} without a session",
            f"HTTP {answer.status} {text}",
            answer.status,
            began=began,
        )
        given = answer.status == 200 and "result" in json.loads(answer.body)
        assert not given, f"{method} answers without a session: {text}"


CHANGE = f"{PSQL} -v ON_ERROR_STOP=1 -d crm"
# What the CRM keeps of the password "changeme"; the dollars are the shell's, too.
OF_CHANGEME = "$argon2id$v=19$m=102400,t=2,p=8$VKr1XislJMSYM6b0nlOqFQ$0cnXMWdj4PJM4pw9gluvGw".replace("$", "\\$")
SABOTAGE = (
    Sabotage(
        "a user's password is kept as it was typed",
        on="application",
        where="database",
        breaks=f'{CHANGE} -c "insert into res_user (id, login, name, active, menu, password_hash) select max(id) + 1001,'
        " 'sabotage', 'sabotage', false, min(menu), 'abcdefgh1' from res_user\"",
        mends=f"{CHANGE} -c \"delete from res_user where login = 'sabotage'\"",
        kills=("test_every_user_of_the_crm_is_one_person_with_a_strong_password",),
    ),
    Sabotage(
        "the CRM takes any password, any number of times, and never ends a session",
        on="application",
        breaks=f"cp -a {CONF} /run/sabotage.conf && sed -i -e 's/^length = .*/length = 1/' -e 's/^max_attempt = .*/max_attempt = 1000/'"
        f" -e 's/^timeout = .*/timeout = 864000/' {CONF} && systemctl restart jinku-crm.service",
        mends=f"cp -a /run/sabotage.conf {CONF} && rm /run/sabotage.conf && systemctl restart jinku-crm.service",
        kills=(
            "test_every_user_of_the_crm_is_one_person_with_a_strong_password",
            "test_the_crm_limits_tries_and_ends_idle_sessions",
            "test_guessing_is_stopped_and_a_stale_session_is_refused",
        ),
        settle=8.0,
    ),
    Sabotage(
        "the CRM believes any database, takes well-known passwords, lends them for a year, and hears of rights late",
        on="application",
        breaks=f"cp -a {CONF} /run/sabotage.conf && echo sabotage > /run/sabotage.words"  # an empty file would be an error of the CRM's
        " && sed -i -e 's/sslmode=verify-full/sslmode=require/' -e 's#^forbidden = .*#forbidden = /run/sabotage.words#'"
        f" -e 's/^reset_timeout = .*/reset_timeout = 31536000/' -e 's/^clean_timeout = .*/clean_timeout = 300/' {CONF}",
        # The CRM never read what was changed; that it was put back shows in its file's time only.
        mends=f"cp -a /run/sabotage.conf {CONF} && rm /run/sabotage.conf /run/sabotage.words && systemctl restart jinku-crm.service",
        kills=(
            "test_the_crm_knows_its_database_by_certificate_and_name",
            "test_the_crm_takes_no_weak_password",
            "test_every_user_of_the_crm_is_one_person_with_a_strong_password",
            "test_rights_are_given_by_group_and_the_service_is_nobody",
        ),
    ),
    Sabotage(
        "a user with a well-known password that is good for ever",
        on="application",
        where="database",
        breaks=f'{CHANGE} -c "insert into res_user (id, login, name, active, menu, password_hash, password_temporary) select max(id) + 1000,'
        f" 'sabotage', 'sabotage', true, min(menu), '{OF_CHANGEME}', true from res_user\"",
        mends=f"{CHANGE} -c \"delete from res_user where login = 'sabotage'\"",
        kills=("test_no_default_password_is_kept", "test_default_names_and_passwords_open_no_session"),
    ),
    Sabotage(
        "no group has a right any more",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c 'create table sabotage_access as select id from ir_model_access where active'"
        " -c 'update ir_model_access set active = false'",
        mends=f"{CHANGE} -c 'update ir_model_access set active = true where id in (select id from sabotage_access)'"
        " -c 'drop table sabotage_access'",
        kills=("test_rights_are_given_by_group_and_the_service_is_nobody",),
    ),
)
