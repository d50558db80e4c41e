"""The page of all calls: what it makes of each part of an OpenAPI document."""

from typing import Any

import pytest

from program_executor.commands.reference import reference_page

PROBLEM = {"$ref": "#/components/schemas/Problem"}

DOCUMENT: dict[str, Any] = {
    "tags": [{"name": "parcels", "description": "What is sent."}, {"name": "unused"}],
    "paths": {
        "/parcels/{id}": {
            "parameters": [{"name": "id", "in": "path", "required": True, "schema": {}}],
            "post": {
                "tags": ["parcels"],
                "summary": "Send a parcel",
                "description": "It is sent | at once.",
                "parameters": [{"$ref": "#/components/parameters/Key"}],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/ParcelRequest"},
                            "examples": {"mug": {"summary": "A mug.", "value": {"what": "mug"}}},
                        }
                    },
                },
                "responses": {
                    "201": {
                        "description": "Sent.",
                        "headers": {"location": {"description": "Where it is."}},
                        "content": {"application/json": {"example": {"id": 7}}},
                    },
                    "409": {
                        "description": "- Gone.\n- Or never\n  there.",
                        "content": {
                            "application/problem+json": {
                                "schema": PROBLEM,
                                "examples": {"gone": {"value": {"code": "already_gone"}}},
                            }
                        },
                    },
                },
            },
        }
    },
    "webhooks": {"arrived": {"post": {"description": "It is there.", "responses": {}}}},
    "components": {
        "parameters": {
            "Key": {
                "name": "key",
                "in": "header",
                "schema": {
                    "description": "Yours.",
                    "anyOf": [{"type": "string", "maxLength": 300}, {"type": "null"}],
                },
            }
        },
        "schemas": {
            "ParcelRequest": {
                "required": ["what"],
                "properties": {
                    "what": {"enum": ["mug", "pot"]},
                    "grams": {"type": "integer", "minimum": 1, "default": 100},
                    "parts": {"type": "array", "items": PROBLEM},
                },
            },
            "Problem": {"type": "object"},
        },
    },
}


@pytest.mark.parametrize(
    "part",
    [
        "| `POST /parcels/{id}` | [Send a parcel](#send-a-parcel) |",
        "## Parcels\n\nWhat is sent.\n\n### Send a parcel\n\n`POST /parcels/{id}`\n",
        "| `id` | path | any |  |",
        "| `key` | header | string or null | Yours. At most 300 characters. |",
        "Body: [ParcelRequest](#parcelrequest), `application/json`.\n\nA mug:\n\n```json",
        "| 201 | Sent. Header `location`: Where it is. | any |",
        "| 409 | Gone.<br>Or never there. Code `already_gone`. | [Problem](#problem) |",
        'An answer 201:\n\n```json\n{\n  "id": 7\n}\n```',
        "## Calls that we make\n\n### Arrived\n\n`POST to your address`\n\nIt is there.",
        "| `what` | `mug` or `pot` | Required. |",
        "| `grams` | integer | At least 1, `100` by default. |",
        "| `parts` | list of [Problem](#problem) |  |",
        "### Problem\n\nObject.\n",
    ],
)
def test_page_has_every_part(part: str) -> None:
    assert part in reference_page(DOCUMENT)


def test_tag_without_a_call_has_no_section() -> None:
    assert "unused" not in reference_page(DOCUMENT).lower()
