# SPDX-License-Identifier: Apache-2.0
"""Everything that can be rendered from an environment without a host: what ``jinku render`` writes."""

import json

from jinku.model.diagram import diagram_svg
from jinku.model.firewall import node_ruleset, router_ruleset
from jinku.model.flow_sheet import flow_sheet_csv
from jinku.model.inventory import inventory
from jinku.model.topology import Topology
from jinku.places import Places


def renderings(topology: Topology) -> dict[str, str]:
    """Relative file name -> text: inventory, one firewall a node and site router, the picture in two languages, the flow sheet."""
    shown = inventory(topology, Places(topology.env.name))
    return {
        "inventory.json": json.dumps(shown, indent=2, ensure_ascii=False) + "\n",
        **{f"firewall/{node.name}.nft": node_ruleset(topology, node) for node in topology.nodes},
        **{f"firewall/router-{site}.nft": router_ruleset(topology, site) for site in topology.sites},
        "diagram.en.svg": diagram_svg(topology, "en"),
        "diagram.zh.svg": diagram_svg(topology, "zh"),
        "flows.csv": flow_sheet_csv(topology),
    }
