# SPDX-License-Identifier: Apache-2.0
"""Jinku (金库): a private, hardened CRM on machines its owner controls, proven control by control."""

__version__ = "0.1.0"
