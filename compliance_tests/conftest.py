# SPDX-License-Identifier: Apache-2.0
"""The compliance tests run by themselves, too: ``JINKU_ENV=lab pytest compliance_tests``."""

pytest_plugins = ["jinku.evidence.plugin"]
