# SPDX-License-Identifier: Apache-2.0
"""A sabotage: how to break the thing that tests prove, and which of them must then fail.

It stands beside the tests in their module, as ``SABOTAGE = (Sabotage(...), ...)``; compliance_tests/sabotage runs it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sabotage:
    """``breaks`` and ``mends``: shell, run as root on the node ``on`` of the lab.

    ``on``: class of the object; its victim is the node with the fewest tiers. ``kills``: names of the module's tests that
    must find fault while it is broken, and must conform again afterwards. ``settle``: seconds that the system needs to
    notice (0 where it is told at once). ``where``: ``controller``, a class of object, a tier or a node, if the commands are not run
    on the victim itself.
    ``victim``: node to break, where the smallest will not do. ``nightly``: it takes more than half a minute, and is left out of CI.
    """

    name: str
    on: str
    breaks: str
    mends: str
    kills: tuple[str, ...]
    settle: float = 0.0
    where: str | None = None
    victim: str | None = None
    nightly: bool = False
