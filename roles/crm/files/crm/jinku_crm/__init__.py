# SPDX-License-Identifier: GPL-3.0-or-later
"""The CRM plug-in for Tryton: the WSGI application, the first set-up, and the verbs of the contract (../../contract.yaml)."""
