# SPDX-License-Identifier: Apache-2.0
"""Pulumi program and provider: sites, networks, hosts and volumes."""
