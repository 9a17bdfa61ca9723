# SPDX-License-Identifier: Apache-2.0
"""The exceptions from the edge's attack rules: few, narrow, each with its reason."""

import re

from jinku.places import CHECKOUT

RULES = (CHECKOUT / "roles/edge/templates/etc/apache2/jinku/waf.conf.j2").read_text(encoding="utf-8").splitlines()
TARGETS = re.compile(r"^SecRule(Update|Remove)")
EXCEPTION = re.compile(r'^SecRule(Remove|Update.* "!)')
NARROW = re.compile(r'^SecRuleUpdateTargetBy(Tag "OWASP_CRS"|Id \d+) "!ARGS:/[^/|]+/"$')
WIDER = re.compile(r'^SecRuleUpdateTargetById \{\{ rule \}\} "TX:/\^jinku_text_/"$')


def test_every_exception_names_a_field() -> None:
    exceptions = [line for line in RULES if EXCEPTION.match(line)]
    assert exceptions, "the pattern finds none, so it proves nothing"
    assert not [line for line in exceptions if not NARROW.match(line)]


def test_what_is_no_exception_has_rules_read_more() -> None:
    others = [line for line in RULES if TARGETS.match(line) and not EXCEPTION.match(line)]
    assert others
    assert not [line for line in others if not WIDER.match(line)]


def test_only_fields_that_cannot_be_read_are_spared_by_all_rules() -> None:
    wide = {line.split("!ARGS:")[1] for line in RULES if line.startswith("SecRuleUpdateTargetByTag")}
    assert wide == {r'/\.base64$/"'}


def test_every_exception_stands_below_its_reason() -> None:
    for number, line in enumerate(RULES):
        if EXCEPTION.match(line):
            above = next(one for one in reversed(RULES[:number]) if not EXCEPTION.match(one))
            assert above.startswith("# "), f"no reason above: {line}"


def test_nothing_switches_the_rules_off_but_for_the_passwords_of_a_login() -> None:
    text = "\n".join(RULES)
    assert "ruleEngine=Off" not in text
    assert "DetectionOnly" not in text
    removed = re.findall(r"ctl:ruleRemove\S+", text)
    assert removed == [
        r"ctl:ruleRemoveTargetByTag=OWASP_CRS;ARGS:params.params.{{",
        r"ctl:ruleRemoveTargetById=1024;ARGS:params.params.{{",
    ]
    login = text.index('"id:1010,phase:2')
    assert login < text.index("ctl:ruleRemove") < text.index("Include /usr/share/coreruleset")
    assert '"@streq common.db.login" "t:none\\\n' in text[login : text.index("ctl:ruleRemove")]
