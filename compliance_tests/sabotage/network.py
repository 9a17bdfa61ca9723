# SPDX-License-Identifier: Apache-2.0
"""What each test of test_network.py must notice."""

from jinku.evidence.sabotage import Sabotage

SABOTAGE = (
    Sabotage(
        "a node lets everybody in",
        on="network",
        breaks="nft insert rule inet jinku input accept",
        mends="systemctl restart jinku-firewall.service",
        kills=(
            "test_the_loaded_filter_is_the_rendered_one",
            "test_a_stranger_gets_in_nowhere",
            "test_what_no_rule_allows_is_denied",
        ),
    ),
    Sabotage(
        "a node lets everybody in, by IPv6 only and to one port",
        on="network",
        breaks="nft insert rule inet jinku input meta nfproto ipv6 tcp dport 22 accept",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_a_stranger_gets_in_nowhere"),
    ),
    Sabotage(
        "a node lets everything out",
        on="network",
        breaks="nft insert rule inet jinku output accept",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_nothing_leaves_without_a_flow"),
    ),
    Sabotage(
        "a rule of a node forgets the source and the state",
        on="network",
        breaks="nft 'insert rule inet jinku input tcp dport 22 accept comment \"bastion>ssh\"'",
        mends="systemctl restart jinku-firewall.service",
        kills=(
            "test_each_rule_names_source_destination_protocol_and_port",
            "test_rules_know_the_state_of_a_session",
            "test_a_stranger_gets_in_nowhere",
            "test_a_segment_of_no_session_is_dropped",
            "test_management_comes_from_its_own_zone_only",
            "test_management_from_anywhere_else_is_refused",
        ),
    ),
    Sabotage(
        "a declared flow is cut",
        on="network",
        breaks="nft insert rule inet jinku output tcp dport 6514 reject",
        mends="systemctl restart jinku-firewall.service",
        kills=("test_every_pair_of_nodes_agrees_with_the_flows", "test_the_loaded_filter_is_the_rendered_one"),
    ),
    Sabotage(
        "a node forwards, and has an address of another zone",
        on="network",
        breaks="sysctl -qw net.ipv4.ip_forward=1 && ip addr add 10.250.0.1/24 dev eth0"
        " && ip route add $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0 scope link",
        mends="ip route del $(getent ahostsv4 crm1 | awk 'NR == 1 {print $1}') dev eth0; ip addr del 10.250.0.1/24 dev eth0;"
        " sysctl -qw net.ipv4.ip_forward=0",
        kills=(
            "test_only_the_router_stands_in_two_zones",
            "test_addresses_lie_in_the_declared_zones",
            "test_an_address_of_another_zone_is_of_no_use",
        ),
    ),
    Sabotage(
        "the router lets everything through",
        on="network",
        victim="router-a",
        breaks="nft insert rule inet jinku forward accept",
        mends="nft delete rule inet jinku forward handle $(nft -a list chain inet jinku forward | awk '$1 == \"accept\" {print $NF}')",
        kills=(
            "test_the_loaded_filter_is_the_rendered_one",
            "test_nothing_leaves_without_a_flow",
            "test_what_no_rule_allows_is_denied",
        ),
    ),
    Sabotage(
        "the router believes any source address",
        on="network",
        victim="router-a",
        breaks="nft insert rule inet jinku prerouting accept",
        mends="nft delete rule inet jinku prerouting handle $(nft -a list chain inet jinku prerouting | awk '$1 == \"accept\" {print $NF}')",
        kills=("test_the_loaded_filter_is_the_rendered_one", "test_an_address_of_another_zone_is_of_no_use"),
    ),
)
