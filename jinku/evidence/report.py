# SPDX-License-Identifier: Apache-2.0
"""The report for people; a stub until the template stands."""

from jinku.evidence.records import CheckResult


def render(result: CheckResult, language: str) -> str:
    """One self-contained HTML page."""
    return f"<html lang={language}>{result.environment.name}</html>"
