# SPDX-License-Identifier: Apache-2.0
"""What each test of test_crm_rights.py must notice."""

from test_application import CHANGE, OF_CHANGEME

from jinku.evidence.sabotage import Sabotage

MODELS = "/usr/lib/python3/dist-packages/trytond/model/modelstorage.py"
UNIT = "/run/systemd/system/jinku-crm.service.d/90-sabotage.conf"
SABOTAGE = (
    Sabotage(
        "everybody may do everything, and nothing is validated",
        on="application",
        breaks=f"cp -a {MODELS} /run/sabotage.models && sed -i 's/^    def _validate(cls, records, field_names=None):/&\\n        return/' {MODELS}"
        " && cp -a /usr/lib/python3/dist-packages/trytond/ir/model.py /run/sabotage.access"
        " && sed -i 's/^    def check(cls, model_name.*/&\\n        return True/' /usr/lib/python3/dist-packages/trytond/ir/model.py",
        mends=f"cp -a /run/sabotage.models {MODELS}; cp -a /run/sabotage.access /usr/lib/python3/dist-packages/trytond/ir/model.py;"
        " rm -f /run/sabotage.models /run/sabotage.access",
        kills=(
            "test_users_do_what_their_group_may_and_nothing_else",
            "test_the_crm_takes_no_record_that_breaks_its_rules",
        ),
    ),
    Sabotage(
        "leavers keep their way in, a user has no group, and a rule on records is off",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c \"create function sabotage() returns trigger language plpgsql as 'begin new.active = true; return new; end'\""
        " -c \"insert into res_user (id, login, name, active, menu, password_hash) select top + 1000 + case when hash is null then 1 else 2 end, login, login, login = 'sabotage-here', menu, hash from"
        f" (select min(menu) menu, max(id) top from res_user) m, (values ('sabotage-gone', '{OF_CHANGEME}'), ('sabotage-here', null)) v (login, hash)\""
        ' -c "create trigger sabotage before update on res_user for each row execute function sabotage()"'
        ' -c "alter table sale_sale alter column state drop not null"',
        mends=f'{CHANGE} -c "drop trigger if exists sabotage on res_user" -c "drop function if exists sabotage()"'
        ' -c "delete from res_user where login like \'sabotage-%\'" -c "alter table sale_sale alter column state set not null"',
        kills=(
            "test_nothing_is_left_of_a_leaver_s_way_in",
            "test_a_leaver_is_out_at_once",
            "test_every_user_has_a_group_and_every_record_its_bounds",
        ),
    ),
    Sabotage(
        "everybody on the host reads the customers' files",
        on="application",
        breaks="chmod 0755 /var/lib/tryton && chmod 0666 /run/jinku-attachments",
        mends="chmod 0750 /var/lib/tryton && chmod 0660 /run/jinku-attachments",
        kills=(
            "test_only_the_system_duty_has_the_verbs_of_the_crm",
            "test_each_duty_reaches_of_the_crm_what_is_its_own",
        ),
    ),
    Sabotage(
        "no reference of an order is looked at any more",
        on="application",
        where="database",
        breaks=f"{CHANGE} -c 'alter table sale_sale disable trigger all'",
        mends=f"{CHANGE} -c 'alter table sale_sale enable trigger all'",
        kills=("test_every_user_has_a_group_and_every_record_its_bounds",),
    ),
    Sabotage(
        "the CRM records nothing, and may write the log",
        on="application",
        breaks=f"mkdir -p $(dirname {UNIT}) && printf '[Service]\\nStandardOutput=null\\nStandardError=null\\nProtectSystem=no\\n' > {UNIT}"
        " && setfacl -m u:tryton:rwx /var/log && systemctl daemon-reload && systemctl restart jinku-crm.service",
        mends=f"rm -rf $(dirname {UNIT}); setfacl -x u:tryton /var/log; systemctl daemon-reload; systemctl restart jinku-crm.service",
        kills=(
            "test_the_crm_records_and_cannot_help_it",
            "test_a_refused_login_is_on_record_at_the_log_tier",
            "test_the_crm_can_neither_change_its_records_nor_stop_them",
        ),
        settle=8.0,
        nightly=True,
    ),
    Sabotage(
        "auditors and security administrators have the verbs of the CRM",
        on="application",
        breaks="printf '%%jinku-audit ALL=(root) NOPASSWD: /usr/bin/jinku-crm *\\n%%jinku-security ALL=(root) NOPASSWD: /usr/bin/jinku-crm *\\n'"
        " > /etc/sudoers.d/zz-sabotage && chmod 440 /etc/sudoers.d/zz-sabotage",
        mends="rm /etc/sudoers.d/zz-sabotage",
        kills=(
            "test_only_the_system_duty_has_the_verbs_of_the_crm",
            "test_each_duty_reaches_of_the_crm_what_is_its_own",
        ),
    ),
)
