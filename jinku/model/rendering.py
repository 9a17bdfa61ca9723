# SPDX-License-Identifier: Apache-2.0
"""Everything that can be rendered from an environment without a host: what ``jinku render`` writes."""

import json
from typing import Any

from jinku.model.diagram import diagram_svg
from jinku.model.firewall import node_ruleset, router_ruleset
from jinku.model.flow_sheet import flow_sheet_csv
from jinku.model.inventory import inventory
from jinku.model.topology import Topology
from jinku.places import Places


def renderings(topology: Topology) -> dict[str, str]:
    """Relative file name -> text: inventory, one firewall a node and site router, the picture in two languages, the flow sheet."""
    return {
        "inventory.json": json.dumps(_shown(topology), indent=2, ensure_ascii=False) + "\n",
        **{f"firewall/{node.name}.nft": node_ruleset(topology, node) for node in topology.nodes},
        **{f"firewall/router-{site}.nft": router_ruleset(topology, site) for site in topology.sites},
        "diagram.en.svg": diagram_svg(topology, "en"),
        "diagram.zh.svg": diagram_svg(topology, "zh"),
        "flows.csv": flow_sheet_csv(topology),
    }


def _shown(topology: Topology) -> dict[str, Any]:
    """The inventory with what every host is told said once, under ``all``, and without the packet filters, which are files of their own."""
    shown = inventory(topology, Places(topology.env.name))
    told: dict[str, dict[str, Any]] = shown["_meta"]["hostvars"]
    first = next(iter(told.values()))
    shared = {
        name: value for name, value in first.items() if all(name in one and one[name] == value for one in told.values())
    }
    own = {
        node: {name: value for name, value in one.items() if name not in {*shared, "jinku_firewall_ruleset"}}
        for node, one in told.items()
    }
    return {**shown, "_meta": {"hostvars": own}, "all": {**shown.get("all", {}), "vars": shared}}
