# SPDX-License-Identifier: Apache-2.0
"""Evidence: what was asked of the running environment, what it answered, and the verdicts that follow.

``channel`` asks and records, ``catalogue`` holds the demands, ``verdicts`` judges, ``plugin`` joins the three in pytest,
``run`` and ``report`` are what the command line calls.
"""
