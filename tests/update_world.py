# SPDX-License-Identifier: Apache-2.0
"""Hosts of the lab, made up, with packages that wait."""

from jinku.model import Topology, load_environment
from jinku.model.update_order import update_order
from jinku.updates import Hands, Package, Roll, Waiting

LAB = Topology.of(load_environment("lab"))


class World:
    """Hosts that do what a test says. ``waits``: name -> Waiting; ``unwell``: what `well` says after so many changes."""

    def __init__(self, waits=(), unwell=None, fails=()):
        self.waits = {one.node: one for one in waits}
        self.unwell, self.fails = unwell or {}, fails
        self.changed, self.told, self.silent = [], [], set()
        self.installed = {node.name: {"libc6": "1", "openssl": "1"} for node in LAB.nodes}

    def look(self, nodes, _fresh):
        return [self.waits.get(node.name, Waiting(node.name)) for node in nodes]

    def well(self, _seconds):
        return self.unwell.get(len(self.changed), [])

    def change(self, node):
        self.changed.append(node.name)
        waiting = self.waits.pop(node.name)
        self.installed[node.name] |= {package.name: package.new for package in waiting.packages}
        return "Upgrade the packages: postinst ended with 1" if node.name in self.fails else ""

    def versions(self, node):
        return None if node.name in self.silent else dict(self.installed[node.name])

    def roll(self):
        hands = Hands(self.look, self.well, self.versions, self.change)
        return Roll(update_order(LAB, ["db1"]), hands, self.told.append)

    def through(self):
        roll = self.roll()
        todo = roll.waiting()
        for number, (node, waiting) in enumerate(todo):
            roll.host(node, waiting, [one for one, _ in todo[number + 1 :]])
        return roll


def waiting(*nodes):
    return [Waiting(node, (Package("openssl", "1", "2", security=True),)) for node in nodes]
