# SPDX-License-Identifier: Apache-2.0
"""Files edited by hand: `plan` names them with their hosts, `up` mends them, and nothing else is touched. Lab only."""

import pytest
from running import ENVIRONMENT, TOPOLOGY, files, jinku, on

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only on the lab's hosts may a test edit files"),
]
EDITED = {
    "postgres": "/etc/sysctl.d/90-jinku.conf",
    "edge": "/etc/apache2/jinku/waf.conf",
    "crm": "/etc/jinku/crm/trytond.conf",
    "bastion": "/etc/ssh/sshd_config.d/10-jinku.conf",
}


def test_files_edited_by_hand_are_named_and_mended_and_nothing_else_is_touched() -> None:
    wrong = {TOPOLOGY.nodes_of(tier)[0].name: path for tier, path in EDITED.items()}  # type: ignore[arg-type]
    nodes = [node.name for node in TOPOLOGY.nodes]
    before = {node: files(node) for node in nodes}
    for node, path in wrong.items():
        on(node, f"echo '# by hand' | sudo tee -a {path}")

    plan = jinku("plan")
    assert plan.returncode == 0, plan.stdout
    lines = [line.strip() for line in plan.stdout.splitlines()]
    # Not the heads of the differences.
    told = [line for line in lines if ": /" in line and not line.startswith(("--- ", "+++ "))]
    for node, path in wrong.items():
        assert any(line.startswith(f"{node}:") and path in line for line in told), f"{path}\n{plan.stdout}"
    strange = [line for line in told if not any(line.startswith(f"{node}:") for node in wrong)]
    assert not strange, strange
    for node, path in wrong.items():
        assert "# by hand" in on(node, f"sudo cat {path}"), "plan changes nothing"

    up = jinku("up")
    assert "did not come up" not in up.stdout, up.stdout
    for node in nodes:
        after = files(node)
        touched = {path for path in before[node].keys() | after.keys() if before[node].get(path) != after.get(path)}
        assert touched == ({wrong[node]} if node in wrong else set()), f"{node}: {touched}"
    for node, path in wrong.items():
        assert "# by hand" not in on(node, f"sudo cat {path}")
    assert "nothing changed: changed=0 on every host" in jinku("up").stdout
