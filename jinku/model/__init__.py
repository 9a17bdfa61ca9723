# SPDX-License-Identifier: Apache-2.0
"""The model: the operator's choices, and the topology and renderings computed from them. Pure but for loading."""

from jinku.model.environment import Environment
from jinku.model.loading import InputError, environment_file, load_environment
from jinku.model.networks import Volume
from jinku.model.topology import AllowedFlow, Flow, Node, Service, Topology

__all__ = [
    "AllowedFlow",
    "Environment",
    "Flow",
    "InputError",
    "Node",
    "Service",
    "Topology",
    "Volume",
    "environment_file",
    "load_environment",
]
