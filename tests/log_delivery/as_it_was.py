# SPDX-License-Identifier: Apache-2.0
"""How the settings were before, each with the loss that it had: as (file, what is shipped, what stood there).

With one of them the test that finds no loss with what is shipped loses lines, so it can.
"""

import pytest
from log_world import AGAIN, RECEIVER_CONF, SENDER

BEFORE = pytest.mark.parametrize("before", [False, True], ids=["as shipped", "as it was"])

#: A queue of the action.
QUEUE = (SENDER, r'(?<=template="RSYSLOG_SyslogProtocol23Format")', ' queue.type="LinkedList"')
#: Files that rsyslog wrote by itself.
OMFILE = (
    RECEIVER_CONF,
    r'type="omprog" name="jinku_keep" binary="\S+ (\S+) jinku-audit"(\s+template="\w+").*?(action\.resumeRetryCount)',
    r'type="omfile" file="\1/n1/all.log"\2 asyncWriting="off" flushOnTXEnd="on" \3',
)
#: No look for seals.
NO_SEALS = (AGAIN, "back .* _SYSTEMD_UNIT=jinku-log-seal.service", "true")
#: Whatever the sealer says is a seal.
ANY_TEXT = (SENDER, r" and \$msg contains '\S+'", "")
#: What a host has that is not upgraded yet: a queue that is kept when rsyslog ends.
KEPT = 'queue.type="LinkedList" queue.saveOnShutdown="on" queue.size="20000"'
FILES = (
    (QUEUE[0], QUEUE[1], f' {KEPT} queue.filename="forward"'),
    ("/etc/rsyslog.conf", r"main_queue\(.*?\)\n", ""),
    ("/etc/rsyslog.conf", 'persistStateInterval="1"', 'persistStateInterval="100"'),
)
#: The same for seals, where the sender is a log host.
SEALS = (SENDER, r'(?<=template="jinku_seal")', f' {KEPT} queue.filename="seal"')
