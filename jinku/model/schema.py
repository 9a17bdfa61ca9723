# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of environment.yaml, so that editors complete and validate. ``python -m jinku.model.schema`` writes it."""

import json
from typing import Any

from jinku.model.environment import Environment
from jinku.model.fields import FORMS
from jinku.places import CHECKOUT

SCHEMA_FILE = CHECKOUT / "inventories/environment.schema.json"


def schema_text() -> str:
    """The schema (JSON Schema 2020-12) as it lies in inventories/environment.schema.json; a test compares the two."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Environment.model_json_schema()}
    return json.dumps(_in_words(schema), indent=2, ensure_ascii=False) + "\n"


def _in_words(schema: Any) -> Any:
    """The schema with the words of each pattern: editors show a `patternErrorMessage` instead of the pattern."""
    if isinstance(schema, list):
        return [_in_words(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    words = FORMS.get(schema["pattern"]) if isinstance(schema.get("pattern"), str) else None
    return {key: _in_words(value) for key, value in schema.items()} | (
        {"patternErrorMessage": str(words)} if words else {}
    )


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
