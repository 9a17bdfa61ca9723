# SPDX-License-Identifier: Apache-2.0
"""A picture of an environment: sites, zones, nodes and the flows between zones, as SVG without outside resources."""

from html import escape

from jinku.model.environment import Zone
from jinku.model.topology import HOSTS, TIME, Node, Topology

_TITLES = {
    "zh": {
        "dmz": "边界区 dmz",
        "app": "应用区 app",
        "data": "数据区 data",
        "security": "密钥区 security",
        "ops": "运维区 ops",
        "audit": "审计区 audit",
        "facility": "机房区 facility",
        "site": "站点",
        "internet": "互联网",
        "operators": "运维人员",
        "mirror": "软件源",
        "time": "时钟源",
        "every": "所有主机 →",
    },
    "en": {
        "dmz": "dmz",
        "app": "app",
        "data": "data",
        "security": "security",
        "ops": "ops",
        "audit": "audit",
        "facility": "facility",
        "site": "site",
        "internet": "internet",
        "operators": "operators",
        "mirror": "package mirror",
        "time": "time",
        "every": "every host →",
    },
}
_COLOURS = {
    "dmz": "#fde8e8",
    "app": "#e8f1fd",
    "data": "#e6f6ec",
    "security": "#f3e8fd",
    "ops": "#fff4de",
    "audit": "#e9ecef",
    "facility": "#eef7f7",
}
#: Left to right as requests travel; the ways in stand on the left.
_DRAWN: tuple[Zone, ...] = ("dmz", "app", "data", "ops", "security", "audit", "facility")
_STYLE = (
    "text{font-family:'Noto Sans CJK SC','PingFang SC','Microsoft YaHei',Helvetica,Arial,sans-serif;font-size:13px;fill:#1c2733}"
    ".small{font-size:11px;fill:#526070}.zone{stroke:#8a97a6}.site{fill:#fff;stroke:#1c2733;stroke-width:1.5}"
    ".node{fill:#fff;stroke:#1c2733}.out{fill:#1c2733}.outtext{fill:#fff}.flow{fill:none;stroke:#b3261e;stroke-width:1.6}"
)
_WIDTH, _LEFT, _ZONE_W, _ZONE_GAP, _NODE_H = 980, 190, 250, 14, 50


def diagram_svg(topology: Topology, language: str = "en") -> str:
    """Draw the environment.

    :param topology: the environment's topology.
    :param language: ``en`` or ``zh``.
    :returns: SVG text, the same for the same input; it is on a page of the README and checked to be current.
    """
    words = _TITLES[language]
    body: list[str] = []
    where: dict[str, tuple[float, float]] = {}
    y = 20.0
    for site in topology.sites:
        y = _draw_site(topology, site, words, y, body, where) + 24
    outside = [
        name for name in topology.outside if any(name in (flow.source, flow.destination) for flow in topology.flows)
    ]
    for index, name in enumerate(outside):
        top = 40 + index * 66
        where[name] = (150, top + 22)
        body.append(
            f'<rect class="out" x="16" y="{top}" width="134" height="44" rx="8"/><text class="outtext" x="83" y="{top + 27}" text-anchor="middle">{escape(words.get(name, name))}</text>'
        )
    body += _arrows(topology, where)
    every = ", ".join(
        dict.fromkeys(flow.service.name for flow in topology.flows if flow.source.startswith((HOSTS, "site_")))
    )
    body.append(f'<text class="small" x="16" y="{y + 4}">{escape(words["every"])} {escape(every)}</text>')
    height = y + 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}" role="img" aria-label="{escape(topology.env.name)}">'
        f'<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto"><path d="M0,0L8,4L0,8z" fill="#b3261e"/></marker></defs>'
        f'<style>{_STYLE}</style><rect width="100%" height="100%" fill="#f7f9fb"/>' + "".join(body) + "</svg>\n"
    )


def _draw_site(
    topology: Topology,
    site: str,
    words: dict[str, str],
    top: float,
    body: list[str],
    where: dict[str, tuple[float, float]],
) -> float:
    zones = [zone for zone in _DRAWN if _nodes(topology, site, zone)]
    rows = [zones[start : start + 3] for start in range(0, len(zones), 3)]
    y = top + 34
    parts: list[str] = []
    for row in rows:
        height = 34 + max(len(_nodes(topology, site, zone)) for zone in row) * (_NODE_H + 8)
        for column, zone in enumerate(row):
            x = _LEFT + 12 + column * (_ZONE_W + _ZONE_GAP - 4)
            network = topology.zones[site, zone].network
            parts.append(
                f'<rect class="zone" fill="{_COLOURS[zone]}" x="{x}" y="{y}" width="{_ZONE_W - 12}" height="{height}" rx="8"/>'
            )
            parts.append(
                f'<text x="{x + 10}" y="{y + 20}">{escape(words[zone])}</text><text class="small" x="{x + _ZONE_W - 22}" y="{y + 20}" text-anchor="end">{network}</text>'
            )
            where[f"{site}.{zone}"] = (x, y + 55)
            for index, node in enumerate(_nodes(topology, site, zone)):
                _draw_node(node, x + 10, y + 30 + index * (_NODE_H + 8), parts)
        y += height + 12
    title = f"{words['site']} {site}: {topology.env.sites[site].title}"
    body.append(
        f'<rect class="site" x="{_LEFT}" y="{top}" width="{_WIDTH - _LEFT - 16}" height="{y - top}" rx="10"/><text x="{_LEFT + 14}" y="{top + 23}" font-weight="bold">{escape(title)}</text>'
    )
    body += parts
    return y


def _nodes(topology: Topology, site: str, zone: Zone) -> list[Node]:
    return [node for node in topology.nodes if node.site == site and node.zone == zone]


def _draw_node(node: Node, x: float, y: float, parts: list[str]) -> None:
    tiers = ", ".join(node.tiers) or "–"
    parts.append(f'<rect class="node" x="{x}" y="{y}" width="{_ZONE_W - 32}" height="{_NODE_H}" rx="6"/>')
    parts.append(
        f'<text x="{x + 12}" y="{y + 21}" font-weight="bold">{escape(node.name)}</text><text x="{x + 92}" y="{y + 21}">{escape(tiers)}</text><text class="small" x="{x + 12}" y="{y + 39}">{node.address}</text>'
    )


def _arrows(topology: Topology, where: dict[str, tuple[float, float]]) -> list[str]:
    """Flows between zones; those of every host, and the bastion's SSH to every host, would hide the picture."""
    found: dict[tuple[str, str], list[str]] = {}
    for pair in topology.allowed():
        if pair.id.startswith((f"{HOSTS}>", "site_", "bastion>")) or pair.destination == TIME:
            continue
        ends = (_end(topology, pair.source), _end(topology, pair.destination))
        if ends[0] != ends[1]:
            found.setdefault(ends, []).append(f"{pair.id}: {pair.en}")
    return [
        _arrow(where[source], where[destination], source in topology.outside, "; ".join(dict.fromkeys(whys)))
        for (source, destination), whys in found.items()
    ]


def _end(topology: Topology, name: str) -> str:
    return next((f"{node.site}.{node.zone}" for node in topology.nodes if node.name == name), name)


def _arrow(start: tuple[float, float], end: tuple[float, float], outside: bool, why: str) -> str:
    x1, y1 = start[0] + (0 if outside else _ZONE_W - 12), start[1]
    x2, y2 = end
    bend = (x1 + x2) / 2
    return f'<path class="flow" marker-end="url(#a)" d="M{x1:g},{y1:g} C{bend:g},{y1:g} {bend:g},{y2:g} {x2:g},{y2:g}"><title>{escape(why)}</title></path>'
