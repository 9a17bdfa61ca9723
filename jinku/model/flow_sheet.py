# SPDX-License-Identifier: Apache-2.0
"""The flows as a table: what is asked of whoever runs firewalls that Jinku does not manage."""

import csv
import io

from jinku.model.topology import Topology

COLUMNS = (
    "id",
    "source",
    "source_addresses",
    "destination",
    "destination_addresses",
    "protocol",
    "port",
    "why_en",
    "why_zh",
)


def flow_rows(topology: Topology) -> list[dict[str, str | int | list[str]]]:
    """One row for each allowed pair.

    :param topology: the environment's topology.
    :returns: rows with the keys of ``COLUMNS``; addresses are lists of networks in CIDR form.
    """
    return [
        {
            "id": pair.id,
            "source": pair.source,
            "source_addresses": [str(network) for network in pair.source_networks],
            "destination": pair.destination,
            "destination_addresses": [str(network) for network in pair.destination_networks],
            "protocol": pair.protocol,
            "port": pair.port,
            "why_en": pair.en,
            "why_zh": pair.zh,
        }
        for pair in topology.allowed()
    ]


def flow_sheet_csv(topology: Topology) -> str:
    """The rows as CSV (RFC 4180), addresses separated by spaces. UTF-8 with a byte order mark, which Excel needs for Chinese."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for row in flow_rows(topology):
        writer.writerow({key: " ".join(value) if isinstance(value, list) else value for key, value in row.items()})
    return "\ufeff" + out.getvalue()
