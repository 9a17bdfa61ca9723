# SPDX-License-Identifier: Apache-2.0
"""Site > zone > node: the tree that `pulumi stack` shows. A backend fills it with real resources."""

from stacks.components.node import NodeComponent
from stacks.components.site import SiteComponent
from stacks.components.zone import ZoneComponent

__all__ = ["NodeComponent", "SiteComponent", "ZoneComponent"]
