# SPDX-License-Identifier: Apache-2.0
"""What a packet filter has loaded and counted, as nft itself tells it."""

import json
from functools import cache

from jinku.model.firewall import node_ruleset, router_ruleset


def is_router(subject):
    return subject.zone == ""


def site_of(subject):
    return subject.node.removeprefix("router-")


def rendered(subject, topology):
    if is_router(subject):
        return router_ruleset(topology, site_of(subject))
    return node_ruleset(topology, topology.node(subject.node))


@cache
def without_counters(listing):
    """Nft's JSON as it is compared: no handles and counts, which change by themselves."""

    def clean(one):
        if isinstance(one, dict):
            return {key: (None if key == "counter" else clean(value)) for key, value in one.items() if key != "handle"}
        return [clean(item) for item in one] if isinstance(one, list) else one

    return [clean(entry) for entry in json.loads(listing)["nftables"] if "metainfo" not in entry]


def loaded(host):
    return without_counters(host.check_output("nft -j list table inet jinku"))


def rules(host, chain):
    return [entry["rule"]["expr"] for entry in loaded(host) if "rule" in entry and entry["rule"]["chain"] == chain]


def accepting(host, chain):
    """Accepting rules of a chain that a flow asked for: (comment, expression) by comment's presence."""
    found = []
    for entry in loaded(host):
        rule = entry.get("rule")
        if rule and rule["chain"] == chain and {"accept": None} in rule["expr"] and "comment" in rule:
            found.append((rule["comment"], rule["expr"]))
    return found


def matches(expression):
    """What a rule looks at: {"ip.saddr", "tcp.dport", "ct.state", ...}."""
    found = set()
    for part in expression:
        left = part.get("match", {}).get("left", {})
        left = left["&"][0] if "&" in left else left
        if "payload" in left:
            found.add(f"{left['payload'].get('protocol')}.{left['payload'].get('field')}")
        elif "ct" in left:
            found.add(f"ct.{left['ct']['key']}")
        elif "meta" in left:
            found.add(f"meta.{left['meta']['key']}")
    return found


def refused(host, chain, moment):
    """Packets that the last rule of ``chain`` has refused so far; ``moment`` tells one question from the next."""
    listing = json.loads(host.check_output(f"nft -j list chain inet jinku {chain} # {moment}"))["nftables"]
    return [entry["rule"] for entry in listing if "rule" in entry][-1]["expr"][0]["counter"]["packets"]


def spoofed(router, moment):
    """Packets with a source address of another interface that the router has dropped so far."""
    listing = json.loads(router.check_output(f"nft -j list chain inet jinku prerouting # {moment}"))["nftables"]
    return sum(
        part["counter"]["packets"]
        for entry in listing
        if "rule" in entry
        for part in entry["rule"]["expr"]
        if "counter" in part
    )


def without_session(host, chain, moment):
    """Segments of no session that ``chain`` has dropped so far."""
    listing = json.loads(host.check_output(f"nft -j list chain inet jinku {chain} # {moment}"))["nftables"]
    return sum(
        part["counter"]["packets"]
        for entry in listing
        if "rule" in entry and "tcp.flags" in matches(entry["rule"]["expr"])
        for part in entry["rule"]["expr"]
        if "counter" in part
    )
