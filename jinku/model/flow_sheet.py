# SPDX-License-Identifier: Apache-2.0
"""The flows as a table: what is asked of whoever runs firewalls that Jinku does not manage. In Chinese and English."""

import csv
import io
from ipaddress import IPv4Network, IPv6Network
from typing import TypedDict

from jinku.model.topology import ANYWHERE, AllowedFlow, Network, Node, Topology

#: Heading -> width in characters; both languages in one sheet, for the request passes through many hands.
COLUMNS = {
    "编号 No.": 8,
    "流量标识 Flow id": 24,
    "方向 Direction": 24,
    "源名称 Source": 14,
    "源区域 Source site/zone": 18,
    "源 IPv4 Source IPv4": 20,
    "源 IPv6 Source IPv6": 26,
    "目的名称 Destination": 14,
    "目的区域 Destination site/zone": 18,
    "目的 IPv4 Destination IPv4": 20,
    "目的 IPv6 Destination IPv6": 26,
    "协议 Protocol": 10,
    "端口 Port": 8,
    "用途 Reason (zh)": 30,
    "用途 Reason (en)": 44,
}

_INBOUND, _OUTBOUND = "入站 inbound", "出站 outbound"
_SITES, _ZONES, _WITHIN = "站点间 between sites", "区域间 between zones", "区域内 within the zone"

#: A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # Excel takes the wide ones, too


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


def sheet_rows(topology: Topology) -> list[list[str]]:
    """The request sheet's rows below :data:`COLUMNS`: one a pair, each cell safe to open in a spreadsheet."""
    nodes = {node.name: node for node in topology.nodes}
    return [
        [safe(cell) for cell in (str(number), *_cells(pair, nodes))]
        for number, pair in enumerate(topology.allowed(), start=1)
    ]


def _cells(pair: AllowedFlow, nodes: dict[str, Node]) -> list[str]:
    source, destination = nodes.get(pair.source), nodes.get(pair.destination)
    return [
        pair.id,
        _direction(source, destination),
        pair.source,
        _place(source),
        *_addresses(pair.source_networks),
        pair.destination,
        _place(destination),
        *_addresses(pair.destination_networks),
        pair.protocol,
        str(pair.port),
        pair.zh,
        pair.en,
    ]


def _direction(source: Node | None, destination: Node | None) -> str:
    """From where to where, as a network team sorts its rules."""
    if source is None or destination is None:
        return _INBOUND if source is None else _OUTBOUND
    if source.site != destination.site:
        return _SITES
    return _WITHIN if source.zone == destination.zone else _ZONES


def _place(node: Node | None) -> str:
    return f"{node.site}/{node.zone}" if node else "外部 outside"


def _addresses(networks: tuple[Network, ...]) -> list[str]:
    """IPv4 and IPv6 of one end, separated by spaces; a single address without its length."""
    found = []
    for kind in (IPv4Network, IPv6Network):
        own = [network for network in networks if isinstance(network, kind)]
        texts = [str(network.network_address) if network.num_addresses == 1 else str(network) for network in own]
        found.append("任意 any" if any(network in ANYWHERE for network in own) else " ".join(texts))
    return found


def safe(text: str) -> str:
    """The text with an apostrophe before it when a spreadsheet would take it for a formula (CWE-1236)."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def flow_sheet_csv(topology: Topology) -> str:
    """The request sheet as CSV (RFC 4180). It begins with a byte order mark, without which Excel garbles Chinese."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    writer.writerows(sheet_rows(topology))
    return "\ufeff" + out.getvalue()


def flow_sheet_xlsx(topology: Topology) -> bytes:
    """The request sheet as a workbook (ECMA-376): every cell is text, whatever it begins with."""
    from openpyxl import Workbook  # noqa: PLC0415 - half a second, which only this needs
    from openpyxl.styles import Alignment, Font, PatternFill  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    book = Workbook()
    sheet = book.active
    sheet.title = "开通申请 Flows"
    for line, row in enumerate([list(COLUMNS), *sheet_rows(topology)], start=1):
        for column, text in enumerate(row, start=1):
            cell = sheet.cell(line, column)
            cell.value, cell.data_type, cell.number_format = text, "s", "@"
            cell.alignment = Alignment(vertical="top", wrap_text=True)
            if line == 1:
                cell.font, cell.fill = Font(bold=True), PatternFill("solid", fgColor="DDE6F0")
    for column, width in enumerate(COLUMNS.values(), start=1):
        sheet.column_dimensions[get_column_letter(column)].width = width
    sheet.freeze_panes, sheet.auto_filter.ref = "C2", sheet.dimensions
    sheet.page_setup.orientation, sheet.page_setup.fitToWidth, sheet.page_setup.fitToHeight = "landscape", 1, 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True
    sheet.print_title_rows = "1:1"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
