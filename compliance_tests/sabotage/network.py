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
