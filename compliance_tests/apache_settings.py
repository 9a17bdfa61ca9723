# SPDX-License-Identifier: Apache-2.0
"""The edge's configuration as Apache itself reads it, and what somebody has put beside the attack rules."""

import re
from functools import cache

from testinfra.host import Host

from jinku.places import CHECKOUT

_READ = 'apache2 -C "LoadModule info_module /usr/lib/apache2/modules/mod_info.so" -t -D DUMP_CONFIG 2>/dev/null'
_ID = re.compile(r"""["',\s]id:'?(\d+)""")
_BESIDE = re.compile(r"SecRule(Remove|Update|Inheritance|Script)", re.IGNORECASE)
#: Has more rules read a long request; which ones is a loop of the template.
_READS_MORE = '"TX:/^jinku_text_/"'


def edge_settings(host: Host) -> list[str]:
    """Every directive in force, includes resolved, one a line; comments left out."""
    return [line.strip() for line in host.check_output(_READ).splitlines() if not line.lstrip().startswith("#")]


def said(settings: list[str], directive: str) -> list[str]:
    """What each line with a directive says, wherever it stands: Apache takes its name in any case."""
    words = (line.split(None, 1) for line in settings)
    return [word[1] if len(word) > 1 else "" for word in words if word and word[0].lower() == directive.lower()]


@cache
def _own_rules() -> tuple[frozenset[str], frozenset[str]]:
    """Numbers of the rules that the role writes, and its lines that change others."""
    text = (CHECKOUT / "roles/edge/templates/etc/apache2/jinku/waf.conf.j2").read_text(encoding="utf-8")
    return frozenset(_ID.findall(text)), frozenset(line for line in text.splitlines() if _BESIDE.match(line))


def strange_rules(host: Host, settings: list[str]) -> list[str]:
    """In words: rules of neither the role nor the Core Rule Set, rules of the role that are gone, and what takes rules or fields away."""
    numbers, exceptions = _own_rules()
    of_the_set = set(
        host.check_output(
            r"grep -ohE '^SecRule(Remove|Update).*|\bid:[0-9]+' /usr/share/coreruleset/*.conf | sed 's/^id://' | sort -u"
        ).splitlines()
    )
    named = [set(_ID.findall(line)) for line in settings if line.lower().startswith(("secrule ", "secaction "))]
    loaded = set().union(*named)
    known = numbers | of_the_set
    found = [f"rule {min(one)} is none of ours and none of the set's" for one in named if one and not one & known]
    found += [f"rule {number} is gone" for number in sorted(numbers - loaded)]
    beside = (line for line in settings if _BESIDE.match(line))
    return found + [line for line in beside if line not in exceptions | of_the_set and not line.endswith(_READS_MORE)]
