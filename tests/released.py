"""Released: what the API has become breaks no client of the last release; part of `make check`.

`openapi/released.json` is the document of that release. api-schema-diff compares operations,
parameters and fields; names, enums and codes, which it does not know, are compared here.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schema_diff.openapi.diff import diff_openapi

from contracts import Operation, operations

Json = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "openapi"

BECAME_REQUIRED, BECAME_OPTIONAL = "Field became required", "Field is no longer required"

HINT = """\
Clients of the last release would break. Add instead of changing: a new field, parameter or
operation beside the old one. If it must be, see CONTRIBUTING.md, "The API grows"."""


def breaking(old: Json, new: Json) -> list[str]:
    """Return what clients that were made for the old document miss in the new one."""
    found: list[str] = []
    for within in ("paths", "webhooks"):
        found += _differences(_paths(old, within), _paths(new, within))
        now = {operation.name: operation for operation in operations(new, within=within)}
        for before in operations(old, within=within):
            found += _missing(before, now.get(before.name))
    found += _missing_values(old["components"]["schemas"], new["components"]["schemas"])
    return found


def _differences(old: Json, new: Json) -> Iterator[str]:
    result = diff_openapi(old, new)
    for change in (*result.breaking, *result.non_breaking):
        is_answer = ".responses." in change.path
        # a client can do without what it need not send, and with what it always gets
        breaks = change in result.breaking and not (is_answer and change.message == BECAME_REQUIRED)
        if breaks or (is_answer and change.message == BECAME_OPTIONAL):
            yield f"{change.path}: {change.message}"


def _missing(before: Operation, now: Operation | None) -> Iterator[str]:
    if now is None:
        yield f"{before.method.upper()} {before.path}: the operation {before.name} is gone"
        return
    for status, answer in before.said["responses"].items():
        kept = _codes(now.said["responses"].get(status, {}))
        for code in sorted(_codes(answer) - kept):
            yield f"{before.name}: the code {code} of {status} is gone"


def _codes(answer: Json) -> set[str]:
    return set(answer.get("content", {}).get("application/problem+json", {}).get("examples", {}))


def _missing_values(old: Json, new: Json) -> Iterator[str]:
    """Yield schemas, which clients know by name, and values of enums that are gone."""
    for name, schema in old.items():
        if name not in new:
            yield f"the schema {name} is gone"
            continue
        before, now = _enums(schema), _enums(new[name])
        for place in before:
            for value in sorted(set(before[place]) - set(now.get(place, before[place]))):
                yield f"the value {value!r} of {name}{place} is gone"


def _enums(schema: Json) -> dict[str, list[str]]:
    named = {
        "": schema,
        **{f".{name}": each for name, each in schema.get("properties", {}).items()},
    }
    return {place: said["enum"] for place, said in named.items() if "enum" in said}


def _paths(document: Json, within: str) -> Json:
    plain: Json = _without_null(document)
    return plain | {"paths": plain[within]}


def _without_null(value: Any) -> Any:
    """Write `X or null` as `X`, into which api-schema-diff looks."""
    if isinstance(value, list):
        return [_without_null(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _without_null(inner) for name, inner in value.items()}
    kinds = [kind for kind in plain.get("anyOf", ()) if kind != {"type": "null"}]
    return plain | kinds[0] if len(kinds) == 1 else plain


if __name__ == "__main__":
    documents = [
        json.loads((FOLDER / name).read_bytes())
        for name in ("released.json", "program-executor.json")
    ]
    if found := breaking(*documents):
        sys.exit("\n".join([*found, HINT]))
