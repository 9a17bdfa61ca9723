# SPDX-License-Identifier: Apache-2.0
"""The JSON Schema of environment.yaml, so that editors complete and validate. ``python -m jinku.model.schema`` writes it."""

import json

from jinku.model.environment import Environment
from jinku.places import CHECKOUT

SCHEMA_FILE = CHECKOUT / "inventories/environment.schema.json"


def schema_text() -> str:
    """The schema (JSON Schema 2020-12) as it lies in inventories/environment.schema.json; a test compares the two."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Environment.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
