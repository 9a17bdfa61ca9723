# SPDX-License-Identifier: Apache-2.0
"""`jinku render`: everything that is computed from environment.yaml, as files to read, compare and send. Works offline."""

import json
from pathlib import Path

import click

from jinku.cli.given_paths import writes
from jinku.cli.selection import Selection, environment_option
from jinku.model import Topology
from jinku.model.diagram import diagram_svg
from jinku.model.firewall import node_ruleset, router_ruleset
from jinku.model.flow_sheet import flow_sheet_csv
from jinku.model.inventory import inventory
from jinku.places import Places


@click.command("render")
@environment_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the files, made if it is missing.  [default: rendered, in the environment's state folder]",
)
def command(env: Selection, output: Path | None) -> None:
    """Write the inventory, every host's and router's packet filter, the diagram and the request sheet for the network team."""
    if output is None:
        env.places.make()
    folder = output or env.places.state / "rendered"
    for name, text in _files(env.topology).items():
        path = folder / name
        with writes(folder, "--output"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        click.echo(path)


def _files(topology: Topology) -> dict[str, str]:
    """Text by relative path. The state is only named here: a copy of an environment may be rendered and compared."""
    computed = inventory(topology, Places(topology.env.name))
    files = {
        "inventory.json": json.dumps(computed, ensure_ascii=False, indent=1, sort_keys=True) + "\n",
        "flows.csv": flow_sheet_csv(topology),
        "diagram.en.svg": diagram_svg(topology, "en"),
        "diagram.zh.svg": diagram_svg(topology, "zh"),
    }
    files |= {f"firewall/{node.name}.nft": node_ruleset(topology, node) for node in topology.nodes}
    files |= {f"firewall/router-{site}.nft": router_ruleset(topology, site) for site in topology.sites}
    return files
