# SPDX-License-Identifier: Apache-2.0
"""What each test of test_edge.py must notice."""

from jinku.evidence.sabotage import Sabotage

SABOTAGE = (
    Sabotage(
        "one rule is taken away, and one more lets an address pass",
        on="edge",
        breaks='printf \'secruleremovebyid 941310\nSecRule REMOTE_ADDR "@ipMatch 192.0.2.1" "id:7777,phase:1,pass,nolog,ctl:ruleEngine=Off"\n\''
        " > /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        kills=("test_the_attack_rules_block",),
    ),
    Sabotage(
        "pages no longer tell browsers what they may load",
        on="edge",
        breaks="sed -i.sabotage '/Content-Security-Policy/d' /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        kills=("test_pages_tell_browsers_to_be_strict_and_name_no_version",),
    ),
    Sabotage(
        "the rules only watch",
        on="edge",
        breaks="echo 'SecRuleEngine DetectionOnly' > /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        kills=(
            "test_the_attack_rules_block",
            "test_known_attacks_are_refused",
            "test_attacks_in_the_fields_of_the_crm_are_refused",
            "test_a_password_is_exempt_in_a_login_and_nowhere_else",
            "test_only_what_the_rules_can_read_passes",
        ),
    ),
    Sabotage(
        "the client's word on its address is believed, versions are told",
        on="edge",
        breaks="printf 'LoadModule remoteip_module /usr/lib/apache2/modules/mod_remoteip.so\\nRemoteIPHeader X-Forwarded-For\\n"
        "ServerTokens Full\\n' > /etc/apache2/jinku.d/sabotage.conf"
        " && sed -i.sabotage '/X-Forwarded-For early/d' /etc/apache2/jinku/site.conf && systemctl restart apache2",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf"
        " && systemctl restart apache2",
        kills=(
            "test_an_attack_is_on_record_with_its_true_source",
            "test_pages_tell_browsers_to_be_strict_and_name_no_version",
        ),
    ),
    Sabotage(
        "the keyed applications are open",
        on="edge",
        breaks="sed -i.sabotage '/<LocationMatch/,/<.LocationMatch>/d' /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        mends="mv /etc/apache2/jinku/site.conf.sabotage /etc/apache2/jinku/site.conf && systemctl reload apache2 && sleep 1",
        kills=("test_only_the_methods_paths_and_names_of_the_crm_are_served",),
    ),
    Sabotage(
        "bodies are limited to less than an attachment needs",
        on="edge",
        breaks="printf 'SecRequestBodyLimit 1048576\\nLimitRequestBody 1048576\\n' > /etc/apache2/jinku.d/sabotage.conf"
        " && systemctl reload apache2 && sleep 1",
        mends="rm -f /etc/apache2/jinku.d/sabotage.conf && systemctl reload apache2 && sleep 1",
        kills=("test_size_is_limited_and_an_attachment_fits",),
    ),
    Sabotage(
        "nobody asks for newer rules",
        on="edge",
        breaks="systemctl stop apt-daily.timer",
        mends="systemctl start apt-daily.timer",
        kills=("test_the_attack_rules_are_the_newest_there_are",),
    ),
)
