# SPDX-License-Identifier: Apache-2.0
"""Hosts that exist already: the way to them, what each lacks, and the first contact."""
