# SPDX-License-Identifier: Apache-2.0
"""Every pair tried at once, by nodes and by strangers; tests read what came of it by asking again, from memory."""

from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address

from asking import tcp_probe
from faults.placed import PlacedStrangers, file_of
from faults.probes import OUTSIDE, Strangers, possible
from filters import refused, spoofed

from jinku.model.topology import ANYWHERE, SERVICES

# Ports of the standard's commentaries: file shares, remote desktops, clear-text logins, data stores without a password.
DANGEROUS = (21, 23, 25, 53, 111, 135, 139, 445, 2049, 3306, 3389, 5900, 6379, 9200, 11211, 27017)
SERVICE_PORTS = tuple(sorted({service.port for service in SERVICES.values() if service.protocol == "tcp"}))
PORTS = tuple(sorted({*SERVICE_PORTS, *DANGEROUS}))


class Pairs:
    """Probes between the nodes themselves, which need nobody else: what a network that others manage lets through."""

    def __init__(self, fleet, topology):
        self.fleet, self.topology = fleet, topology

    def targets(self, addresses, ports=PORTS):
        """Every address with every port."""
        return [(str(address), port) for address in addresses for port in ports]

    def between(self, node):
        """From a node to every other node, all service ports."""
        others = [address for other in self.topology.nodes if other != node for address in other.addresses]
        return tcp_probe(self.fleet.host(node.name), self.targets(others, (*SERVICE_PORTS, 23, 445)))

    def allowed(self, source, node):
        """Ports at ``node`` that a flow opens to the address ``source``."""
        source = ip_address(source)
        return {
            pair.port
            for pair in self.topology.allowed()
            if pair.destination == node.name
            and pair.protocol == "tcp"
            and any(source in network for network in pair.source_networks)
        }

    def run_ahead(self):
        """Ask everything at once."""
        with ThreadPoolExecutor(24) as pool:
            for node in self.topology.nodes:
                pool.submit(self.between, node)

    def close(self):
        """Nothing was made."""


class Sweep(Pairs):
    """All probes of one session, side by side; tests read what they found by asking again, which is answered from memory."""

    def __init__(self, fleet, topology, strangers):
        super().__init__(fleet, topology)
        self._context = strangers
        self.strangers = self._context.__enter__().all
        self.hosts = {key: fleet.add(f"probe-{key}", strangers.argv(key)) for key in self.strangers}

    def close(self):
        """Remove the strangers."""
        self._context.__exit__()

    def key(self, node):
        """Key of the stranger in the node's zone."""
        return f"{node.site}-{node.zone}"

    def counted(self, host, chain, name, probe):
        """What ``probe`` found, and how many packets the last rule of ``chain`` refused meanwhile."""
        before = refused(host, chain, f"before {name}")
        found = probe()
        return found, refused(host, chain, f"after {name}") - before

    def into(self, node, key):
        """Probe ``node`` from a stranger; only the node's own filter stands between when ``key`` is of its zone."""
        host = self.fleet.host(node.name)
        return self.counted(
            host, "input", f"probes by {key}", lambda: tcp_probe(self.hosts[key], self.targets(node.addresses))
        )

    def everywhere(self, node):
        """Addresses of the strangers beside ``node`` and outside, of the families that it has: a site may have IPv4 alone."""
        versions = {address.version for address in node.addresses}
        both = (*self.strangers[self.key(node)].addresses, *self.strangers[OUTSIDE].addresses)
        return [address for address in both if ip_address(address).version in versions]

    def out_of(self, node):
        """From ``node`` to the listener of the stranger in its own zone, and to the one outside; TCP."""
        host = self.fleet.host(node.name)
        everywhere = self.everywhere(node)
        return self.counted(host, "output", "probes out", lambda: tcp_probe(host, self.targets(everywhere)))

    def across(self, site, key):
        """From a stranger through the site's router to every node that lies beyond it, and outside."""
        beyond = [node for node in self.topology.nodes if node.site == site and self.key(node) != key]
        addresses = [str(address) for node in beyond for address in node.addresses]
        addresses += [] if key == OUTSIDE else self.strangers[OUTSIDE].addresses
        return tcp_probe(self.hosts[key], self.targets(addresses, SERVICE_PORTS))

    def routers_allow(self, source, node):
        """The same as a router sees it: "the internet" is whoever is not inside."""
        inside = any(ip_address(source) in network for network in self.topology.inside)
        return {
            pair.port
            for pair in self.topology.allowed()
            if pair.destination == node.name
            and pair.protocol == "tcp"
            and any(
                ip_address(source) in network
                for network in pair.source_networks
                if not (inside and network in ANYWHERE)
            )
        }

    def run_ahead(self):
        """Ask everything at once."""
        with ThreadPoolExecutor(24) as pool:
            for node in self.topology.nodes:
                pool.submit(self._node_ahead, node)
            for site in self.topology.sites:
                pool.submit(lambda site=site: through(self, site))
                pool.submit(lambda site=site: under_foreign_names(self, site))

    def _node_ahead(self, node):
        self.out_of(node)
        self.into(node, self.key(node))
        self.between(node)


def through(sweep, site):
    """Every stranger across the router of ``site``: answers by stranger, and what the router refused meanwhile."""
    router = sweep.fleet.host(f"router-{site}")
    keys = [key for key in sweep.strangers if key == OUTSIDE or key.startswith(f"{site}-")]

    def all_of_them():
        with ThreadPoolExecutor(len(keys)) as pool:
            list(pool.map(lambda key: sweep.across(site, key), keys))
        # Asked again, from memory, so that the answers count for the test that asks.
        return {key: sweep.across(site, key) for key in keys}

    return sweep.counted(router, "forward", f"probes across {site}", all_of_them)


def under_foreign_names(sweep, site):
    """Every stranger of ``site`` under another zone's address to a node of each other zone: answers, and what the router dropped."""
    router = sweep.fleet.host(f"router-{site}")
    keys = [key for key in sweep.strangers if key.startswith(f"{site}-")]

    def attempt(key):
        beyond = [node.address for node in sweep.topology.nodes if node.site == site and sweep.key(node) != key]
        targets = sweep.targets(beyond or [sweep.strangers[OUTSIDE].address], (443,))
        return [
            (key, said) for said in tcp_probe(sweep.hosts[key], targets, str(sweep.strangers[key].foreign)).values()
        ]

    before = spoofed(router, "before foreign addresses")
    with ThreadPoolExecutor(len(keys)) as pool:
        list(pool.map(attempt, keys))
    answers = [answer for key in keys for answer in attempt(key)]
    return answers, spoofed(router, "after foreign addresses") - before


def begun(fleet, topology, folder):
    """A sweep with all its probes done: by the lab's strangers, by those of ``folder``/probes.yaml, or between the nodes alone."""
    if not possible(topology):
        sweep = Sweep(fleet, topology, Strangers(topology, PORTS))
    elif file_of(folder).exists() and topology.env.backend != "lab":
        sweep = Sweep(fleet, topology, PlacedStrangers(topology, PORTS, folder))
    else:
        sweep = Pairs(fleet, topology)
    sweep.run_ahead()
    return sweep


def judge_sides(answers, address_ports, where):
    """The probes' answers against the ports that may be open, by address."""
    wrong = [
        f"{address}:{port}"
        for (address, port), said in answers.items()
        if said == "open" and port not in address_ports(address)
    ]
    assert not wrong, f"{where}: open and not declared: {', '.join(wrong[:6])}"
    return sum(said != "open" for said in answers.values())


def own_flows(topology, node, other):
    """Ports that a flow from this very node (not from everybody) opens at ``other``: its own filter lets it out, too."""
    return {pair.port for pair in topology.allowed() if pair.source == node.name and pair.destination == other.name}
