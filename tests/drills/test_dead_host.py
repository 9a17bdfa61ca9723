# SPDX-License-Identifier: Apache-2.0
"""A host whose disk is gone: `plan` says that it would be made, `up` makes it again, and its volume's data is there. Lab only."""

import asyncio
import secrets
import shutil

import pytest
from running import ENVIRONMENT, TOPOLOGY, jinku, party

from stacks.provider.lab import cgroups, hosts

pytestmark = [
    pytest.mark.long_drill,
    pytest.mark.skipif(ENVIRONMENT.backend != "lab", reason="only the lab's hosts may be destroyed by a test"),
]


def test_a_dead_database_host_is_made_again_with_its_data() -> None:
    name = f"drill {secrets.token_hex(4)}"
    assert party(name, make=True) == 1
    dead = hosts.load(ENVIRONMENT.name, TOPOLOGY.nodes_of("postgres")[0].name)

    async def kill() -> None:
        await cgroups.kill(dead.id)  # no orderly end: its processes, then its files
        await asyncio.sleep(0.5)

    asyncio.run(kill())
    shutil.rmtree(dead.folder)

    status = jinku("status")
    assert status.returncode == 1, status.stdout
    assert f"not healthy: {dead.name}" in status.stdout
    plan = jinku("plan")
    assert f"would make host {dead.name}" in plan.stdout, plan.stdout
    up = jinku("up")
    assert f"made host {dead.name}" in up.stdout, up.stdout
    assert "did not come up" not in up.stdout, up.stdout
    assert party(name) == 1, "what was in its volume is gone"
    assert jinku("status").returncode == 0
    assert "nothing changed: changed=0 on every host" in jinku("up").stdout
