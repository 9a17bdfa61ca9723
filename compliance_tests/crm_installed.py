# SPDX-License-Identifier: Apache-2.0
"""What the CRM's modules installed, compared with what its database holds now: rights, rules, buttons, and what runs on the server.

Tryton keeps in ir_model_data what a module's file says of each record that it made; what somebody made in a client has no line there.
"""

import json

_PERMISSIONS = {"perm_read": True, "perm_write": True, "perm_create": True, "perm_delete": True}
#: What runs at its time, every so often; when, people may change.
TIMED = "ir.cron"
_BY = "coalesce((select ' by ' || u.login from res_user u where u.id = coalesce(t.write_uid, t.create_uid) and u.id <> 0), '')"
#: Model -> what a module's file need not say, for a new record has it: a value that is put there later must show, too.
COMPARED = {
    "res.group": {"active": True, "parent": None},
    "ir.model.access": {"active": True, "group": None, "perm_read": False, "perm_write": False, "perm_create": False}
    | {"perm_delete": True},
    "ir.model.field.access": {"active": True, "group": None, "perm_read": False, "perm_write": False}
    | {"perm_create": True, "perm_delete": True},
    "ir.rule.group": {"global_p": True, "default_p": False, **_PERMISSIONS},
    "ir.rule": {},
    "ir.rule.group-res.group": {},
    "ir.model.button": {},
    "ir.model.button.rule": {},
    "ir.model.button-res.group": {},
    "ir.model.button-button.reset": {},
    "ir.action-res.group": {},
    "ir.ui.menu-res.group": {},
    # A report's own template is a program that the server runs; a trigger calls one, a mail carries records out.
    "ir.action.report": {"report_content_custom": None},
    "ir.action.wizard": {},
    "ir.trigger": {},
    "ir.email.template": {},
}


def _added(model: str) -> str:
    """SQL that tells the records of a model that no module made."""
    return (
        f"select '{model} ' || t.id || ' was added' || {_BY} from \"{model.replace('.', '_')}\" t"
        f" where not exists (select 1 from ir_model_data d where d.model = '{model}' and d.db_id = t.id)"
    )


def _same(value: str) -> str:
    """SQL: a value as text, so that what is empty, null or false is one."""
    return f"coalesce(nullif({value}, ''), 'false')"


def _of_one(model: str, defaults: dict[str, bool | None]) -> str:
    table = f'"{model.replace(".", "_")}"'
    mine = f"d.model = '{model}'"
    said = "(select jsonb_object_agg(p->>0, p->1) from jsonb_array_elements(d.values::jsonb) p)"
    in_the_file = "v.value #>> '{}'"
    return (
        f"{_added(model)} union all select '{model} ' || d.module || '.' || d.fs_id || ' is gone' from ir_model_data d"
        f" where {mine} and not exists (select 1 from {table} t where t.id = d.db_id)"
        f" union all select '{model} ' || d.module || '.' || d.fs_id || ': ' || v.key || ' is '"
        f" || left(coalesce(to_jsonb(t)->>v.key, 'empty'), 60) || {_BY} from ir_model_data d join {table} t on t.id = d.db_id,"
        f" jsonb_each('{json.dumps(defaults)}'::jsonb || coalesce({said}, '{{}}')) v"
        f" where {mine} and to_jsonb(t) ? v.key and jsonb_typeof(v.value) <> 'object'"
        f" and {_same('to_jsonb(t)->>v.key')} <> {_same(in_the_file)}"
    )


def differences() -> str:
    """SQL that tells, a line each, what was added to, taken from or changed of what the modules installed; and who edited their record of it."""
    models = ", ".join(f"'{model}'" for model in COMPARED)
    forged = (
        "select 'ir.model.data ' || module || '.' || fs_id || ' was written by ' || u.login from ir_model_data d"
        f" join res_user u on u.id = coalesce(d.write_uid, d.create_uid) where u.id <> 0 and d.model in ({models})"
    )
    # The server itself makes these from its programs, without a line in ir_model_data.
    edited = (
        f"select '{model} ' || t.name || ' was changed by ' || u.login from {model.replace('.', '_')} t"
        " join res_user u on u.id = coalesce(t.write_uid, t.create_uid) where u.id <> 0"
        for model in ("ir.model", "ir.model.field")
    )
    return " union all ".join(
        [*(_of_one(model, defaults) for model, defaults in COMPARED.items()), _added(TIMED), forged, *edited]
    )


#: Logins of the active users of a group that can change users, rights or what the server runs, or of one that inherits from it.
ADMINISTRATORS = (
    'with recursive strong(id) as (select a."group" from ir_model_access a join ir_model m on m.id = a.model'
    ' where a.active and a."group" is not null and (a.perm_write or a.perm_create) and m.model in'
    " ('res.user', 'res.group', 'ir.model.access', 'ir.model.field.access', 'ir.rule', 'ir.rule.group', 'ir.action.report')"
    " union select db_id from ir_model_data where module = 'res' and fs_id = 'group_admin'"
    " union select g.id from res_group g join strong s on g.parent = s.id)"
    ' select distinct u.login from res_user u join "res_user-res_group" r on r."user" = u.id join strong s on s.id = r."group"'
    " where u.active and u.login is not null order by 1"
)


def surplus_modules(wanted: list[str]) -> str:
    """SQL that tells the modules that are active, or about to be, and are neither ``wanted`` nor needed by one that is."""
    first = ", ".join(f"('{name}')" for name in ("ir", "res", *wanted))
    return (
        f"with recursive need(name) as (values {first} union select d.name from need n join ir_module m on m.name = n.name"
        " join ir_module_dependency d on d.module = m.id)"
        " select name from ir_module where state <> 'not activated' and name not in (select name from need) order by 1"
    )


def missing_modules(wanted: list[str]) -> str:
    """SQL that tells those of the ``wanted`` modules that are not active: the server leaves them out when it starts."""
    names = ", ".join(f"('{name}')" for name in wanted)
    return (
        f"select name from (values {names}) wanted(name) where not exists"
        " (select from ir_module m where m.name = wanted.name and m.state = 'activated') order by 1"
    )
