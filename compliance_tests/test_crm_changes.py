# SPDX-License-Identifier: Apache-2.0
"""What an administrator of the CRM could change in its client, or root on its host, to see or do more than anybody was given."""

from functools import cache

import pytest
import yaml
from crm_installed import ADMINISTRATORS, differences, missing_modules, surplus_modules
from running_settings import Reader, behind_their_files
from test_application import CHANGE, CONF, OF_CHANGEME, OLDEST_PASSWORD, database, of_the_crm  # noqa: F401 - database is a fixture

from jinku.evidence.sabotage import Sabotage
from jinku.places import CHECKOUT

UNIT = "jinku-crm.service"
CRM = Reader(UNIT, f"{CONF} /etc/jinku/crm/application.ini /usr/lib/jinku/crm /etc/systemd/system/{UNIT}")
ROUTER = Reader("jinku-crm-router.service", "/etc/jinku/crm/router.cfg", reloads=True)


@cache
def modules():
    """The modules that the role activates, as it names them."""
    return list(yaml.safe_load((CHECKOUT / "roles/crm/defaults/main.yml").read_text(encoding="utf-8"))["crm_modules"])


@pytest.mark.control("dengbao:8.1.4.2.a", "dengbao:8.1.4.2.e", "iso27001:A.5.15", "iso27001:A.8.3")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_rights_rules_and_programs_of_the_crm_are_those_of_its_modules(database):  # noqa: F811 - a fixture
    """Groups, their rights, rules, buttons, reports and triggers are what the modules installed; nothing added, changed or taken away, no module neither.

    zh: 应用的用户组、模型与字段权限、记录规则、按钮、报表模板及触发器与模块安装时一致，无增、删、改；所需模块均已启用，未启用其他模块。
    """
    found = of_the_crm(database, differences())
    assert not found, f"{len(found)}, such as: {'; '.join(found[:4])}"
    more = of_the_crm(database, surplus_modules(modules()))
    assert not more, f"modules that nobody asked for: {', '.join(more)}"
    gone = of_the_crm(database, missing_modules(modules()))
    assert not gone, f"modules that the next start leaves out: {', '.join(gone)}"


@pytest.mark.control("dengbao:8.1.4.2.a", "dengbao:8.1.4.2.c", "iso27001:A.5.15", "iso27001:A.5.18")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_only_declared_people_administer_the_crm(database, topology):  # noqa: F811 - a fixture
    """Who may change users, rights or reports, by whatever group, is declared (crm.administrators); no key opens the CRM without a login.

    zh: 凡可更改用户、权限或报表的账户均已声明（crm.administrators）；不存在免登录的应用密钥。
    """
    more = set(of_the_crm(database, ADMINISTRATORS)) - set(topology.env.crm.administrators)
    assert not more, f"also administers the CRM: {', '.join(sorted(more))} (not in crm.administrators)"
    keys = of_the_crm(
        database,
        "select coalesce(u.login, '?') || ': ' || a.application from res_user_application a left join res_user u on u.id = a.\"user\""
        " where a.state = 'validated'",
    )
    assert not keys, f"a key opens it without a login: {', '.join(keys)}"


@pytest.mark.control("dengbao:8.1.4.1.a", "iso27001:A.5.17")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_every_password_of_the_crm_has_an_end(database):  # noqa: F811 - a fixture
    """Of each active user the database says when the password has to be changed: within a quarter, of nobody never.

    zh: 数据库中每个有效用户的口令均有到期时间，且不超过一个季度；不存在永不过期的口令。
    """
    lasting = of_the_crm(
        database,
        "select login || ': ' || coalesce(password_until::text, 'never') from res_user where active and password_hash is not null and"
        f" (password_until is null or password_until > current_timestamp at time zone 'UTC' + interval '{OLDEST_PASSWORD + 86400} s')",
    )
    assert not lasting, f"good for too long: {', '.join(lasting)}"


@pytest.mark.control("dengbao:8.1.4.1.a", "dengbao:8.1.4.1.b", "iso27001:A.5.17", "iso27001:A.8.5")
@pytest.mark.objects("application")
@pytest.mark.setting
def test_the_crm_runs_with_what_its_files_hold(host):
    """No setting or program of the CRM and its router changed since they were read.

    zh: 应用及其路由进程所加载的配置与程序即其文件的现有内容。
    """
    found = behind_their_files(host, CRM, ROUTER)
    assert not found, "; ".join(found)


_GROUP = "(select db_id from ir_model_data where module = '{}' and fs_id = '{}' and model = 'res.group')"
SABOTAGE = (
    Sabotage(
        "sales may write users, a lock on sessions is off, and a report has a template of its own",
        on="application",
        where="database",
        breaks=f'{CHANGE} -c "insert into ir_model_access (id, model, \\"group\\", active, perm_read, perm_write, perm_create, perm_delete,'
        " description) select max(a.id) + 1000, (select id from ir_model where model = 'res.user'), "
        f"{_GROUP.format('sale', 'group_sale')}, true, true, true, true, false, 'sabotage' from ir_model_access a\""
        ' -c "update ir_model_access set perm_read = true where id = (select db_id from ir_model_data where module ='
        " 'jinku_login' and fs_id = 'access_session')\""
        " -c \"update ir_action_report set report_content_custom = 'sabotage' where id = (select min(id) from ir_action_report)\"",
        mends=f"{CHANGE} -c \"delete from ir_model_access where description = 'sabotage'\""
        ' -c "update ir_model_access set perm_read = false where id = (select db_id from ir_model_data where module ='
        " 'jinku_login' and fs_id = 'access_session')\""
        " -c \"update ir_action_report set report_content_custom = null where report_content_custom = 'sabotage'\"",
        kills=("test_rights_rules_and_programs_of_the_crm_are_those_of_its_modules",),
    ),
    Sabotage(
        "the module by which people are erased is left out at the next start",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c \"update ir_module set state = 'not activated' where name = 'jinku_erase'\"",
        mends=f"{CHANGE} -c \"update ir_module set state = 'activated' where name = 'jinku_erase'\"",
        kills=("test_rights_rules_and_programs_of_the_crm_are_those_of_its_modules",),
    ),
    Sabotage(
        "something more runs at its time",
        on="application",
        where="database",
        breaks=f'{CHANGE} -c "create temp table one as select * from ir_cron order by id limit 1"'
        ' -c "update one set id = id + 100000, next_call = \'2099-01-01\'" -c "insert into ir_cron select * from one"',
        mends=f'{CHANGE} -c "delete from ir_cron where id > 100000"',
        kills=("test_rights_rules_and_programs_of_the_crm_are_those_of_its_modules",),
    ),
    Sabotage(
        "a password of the CRM never has to be changed",
        on="application",
        where="database",
        breaks=f'{CHANGE} -c "insert into res_user (id, login, name, active, menu, password_hash, password_temporary) select max(id) + 1000,'
        f" 'sabotage', 'sabotage', true, min(menu), '{OF_CHANGEME}', false from res_user\"",
        mends=f"{CHANGE} -c \"delete from res_user where login = 'sabotage'\"",
        kills=("test_every_password_of_the_crm_has_an_end",),
    ),
    Sabotage(
        "one more administrator",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c \"insert into res_user (id, login, name, active, menu) select max(id) + 1000, 'sabotage', 'sabotage', true,"
        ' min(menu) from res_user" -c "insert into \\"res_user-res_group\\" (id, \\"user\\", \\"group\\") select max(id) + 1000,'
        f' (select id from res_user where login = \'sabotage\'), {_GROUP.format("res", "group_admin")} from \\"res_user-res_group\\""',
        mends=f'{CHANGE} -c "delete from \\"res_user-res_group\\" where \\"user\\" in (select id from res_user where login ='
        " 'sabotage')\" -c \"delete from res_user where login = 'sabotage'\"",
        kills=("test_only_declared_people_administer_the_crm",),
    ),
    Sabotage(
        "the CRM lets try a thousand passwords, and its file is as it was",
        on="application",
        breaks=f"cp -a {CONF} /run/sabotage.conf && sed -i 's/^max_attempt = .*/max_attempt = 1000/' {CONF}"
        # Its workers read the file after systemd was told that it is ready.
        f" && systemctl restart {UNIT} && for i in $(seq 60); do jinku-crm health >/dev/null 2>&1 && break; sleep 1; done"
        f" ; cp -a /run/sabotage.conf {CONF} && rm /run/sabotage.conf",
        mends=f"systemctl restart {UNIT}",
        kills=("test_the_crm_runs_with_what_its_files_hold",),
        settle=8.0,
    ),
)
