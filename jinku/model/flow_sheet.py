# SPDX-License-Identifier: Apache-2.0
"""The flows as a table: what is asked of whoever runs firewalls that Jinku does not manage."""

import csv
import io
from typing import TypedDict

from jinku.model.topology import Topology

COLUMNS = (
    "id",
    "source",
    "source_networks",
    "destination",
    "destination_networks",
    "protocol",
    "port",
    "why_en",
    "why_zh",
)


class Row(TypedDict):
    """An allowed pair as `jinku flows --json` prints it. Networks in CIDR form; ``why`` by language."""

    id: str
    source: str
    source_networks: list[str]
    destination: str
    destination_networks: list[str]
    protocol: str
    port: int
    why: dict[str, str]


def flow_rows(topology: Topology) -> list[Row]:
    """One row for each allowed pair.

    :param topology: the environment's topology.
    :returns: rows in the topology's order.
    """
    return [
        {
            "id": pair.id,
            "source": pair.source,
            "source_networks": [str(network) for network in pair.source_networks],
            "destination": pair.destination,
            "destination_networks": [str(network) for network in pair.destination_networks],
            "protocol": pair.protocol,
            "port": pair.port,
            "why": {"en": pair.en, "zh": pair.zh},
        }
        for pair in topology.allowed()
    ]


def flow_sheet_csv(topology: Topology) -> str:
    """The rows as CSV (RFC 4180), networks separated by spaces. UTF-8 with a byte order mark, which Excel needs for Chinese."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for row in flow_rows(topology):
        flat = {
            key: " ".join(value) if isinstance(value, list) else value for key, value in row.items() if key != "why"
        }
        writer.writerow({**flat, "why_en": row["why"]["en"], "why_zh": row["why"]["zh"]})
    return "\ufeff" + out.getvalue()
