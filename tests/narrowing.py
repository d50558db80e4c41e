"""Narrowing: what fits one schema and would not fit another; both may be of different documents.

It knows the words of JSON Schema that our document uses, and complains about others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

NULL = {"type": "null"}

AT_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
AT_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
FORMS = ("format", "pattern")
"""Two forms that are not the same are taken for narrower: which of them is, is hard to say."""

SAID = {"description", "examples", "default", "title"}
KNOWN = SAID | {
    *("$ref", "anyOf", "oneOf", "type", "enum", "const", "properties", "required", "items"),
    *("additionalProperties", "propertyNames", *AT_MOST, *AT_LEAST, *FORMS),
}


@dataclass(frozen=True, slots=True)
class Node:
    """A schema, the document that its references are of, and its name for people."""

    schema: Json
    document: Json
    place: str

    def resolved(self) -> "Node":
        """Follow a reference; what stands behind it is called by its own name."""
        if "$ref" not in self.schema:
            return self
        name = self.schema["$ref"].removeprefix("#/components/schemas/")
        return Node(self.document["components"]["schemas"].get(name, {}), self.document, name)

    def kinds(self) -> list["Node"]:
        """Return the alternatives of a union, and one of one that is none."""
        node = self.resolved()
        kinds = node.schema.get("anyOf", node.schema.get("oneOf"))
        if kinds is None:
            return [node]
        return [each for kind in kinds for each in Node(kind, node.document, node.place).kinds()]

    def within(self, name: str, schema: Any) -> "Node":
        """Return a part; `true` stands for any value."""
        return Node(schema if isinstance(schema, dict) else {}, self.document, self.place + name)


def narrowings(values: Node, fitting: Node, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say why values of one schema may not fit another; nothing if all of them do."""
    places = values.schema.get("$ref", "") + fitting.schema.get("$ref", "")
    if places and places in within:
        return  # it contains itself
    within |= {places}
    wanted = fitting.kinds()
    for kind in values.kinds():
        against = [each for each in wanted if _is_null(each) == _is_null(kind)]
        if not against:
            yield f"{kind.place}: {'null' if _is_null(kind) else 'what is not null'}"
        elif not any(not list(_kind_narrowings(kind, each, within)) for each in against):
            yield from _kind_narrowings(kind, against[0], within)


def _is_null(node: Node) -> bool:
    return node.schema.get("type") == "null"


def _kind_narrowings(values: Node, fitting: Node, within: frozenset[str]) -> Iterator[str]:
    """Compare two schemas that are no unions."""
    place, old, new = values.place, values.schema, fitting.schema
    strange = (old.keys() | new.keys()) - KNOWN
    assert not strange, f"{place}: teach tests/narrowing.py about {sorted(strange)}"
    if "type" in new and old.get("type") not in {new["type"], _part_of(new["type"])}:
        yield f"{place}: {old.get('type', 'any value')} instead of {new['type']}"
        return
    if (allowed := _listed(new)) is not None:
        listed = _listed(old)
        gone = [None] if listed is None else [each for each in listed if each not in allowed]
        yield from (f"{place}: {'any' if each is None else repr(each)}" for each in gone)
    for word in (*AT_MOST, *AT_LEAST, *FORMS):
        if word in new and _is_narrower(word, old.get(word), new[word]):
            yield f"{place}: {word} {old.get(word, 'none')} instead of {new[word]}"
    yield from _narrower_parts(values, fitting, within)


def _part_of(kind: str) -> str:
    return "integer" if kind == "number" else kind


def _listed(schema: Json) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _is_narrower(word: str, old: Any, new: Any) -> bool:
    if old is None or word in FORMS:
        return bool(old != new)
    return bool(old > new if word in AT_MOST else old < new)


def _narrower_parts(values: Node, fitting: Node, within: frozenset[str]) -> Iterator[str]:
    """Compare what objects and lists consist of."""
    old, new = values.schema, fitting.schema
    for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
        yield f"{values.place} without {name}"
    mine, theirs = old.get("properties", {}), new.get("properties", {})
    pairs = [(f".{name}", mine[name], theirs[name]) for name in mine if name in theirs]
    for word, said in {"items": "[]", "propertyNames": "'s names"}.items():
        if word in new:
            pairs.append((said, old.get(word, True), new[word]))
    if not mine and "additionalProperties" in new:  # else it may get more fields
        pairs.append((".*", old.get("additionalProperties", True), new["additionalProperties"]))
    for said, one, other in pairs:
        if other is False:
            if one is not False:
                yield f"{values.place}{said}: any field"
            continue
        yield from narrowings(values.within(said, one), fitting.within(said, other), within)


def lost(old: Node, new: Node, within: frozenset[str] = frozenset()) -> Iterator[str]:
    """Name the fields, values and defaults of the old schema that the new one lacks."""
    places = old.schema.get("$ref", "")
    if places and places in within:
        return
    within |= {places}
    for before in old.kinds():
        now = [each for each in new.kinds() if not _is_null(each)]
        if _is_null(before) or not now:
            continue
        yield from _lost_parts(before, now[0], within)


def _lost_parts(old: Node, new: Node, within: frozenset[str]) -> Iterator[str]:
    known = _listed(new.schema)
    for value in _listed(old.schema) or ():
        if known is not None and value not in known:
            yield f"{old.place}: {value!r} is gone"
    before, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    for name, schema in before.items():
        part = old.within(f".{name}", schema)
        if name not in now:
            yield f"{part.place} is gone"
            continue
        if schema.get("default") != now[name].get("default"):
            yield f"{part.place}: the default {schema.get('default')!r} has changed"
        yield from lost(part, new.within(f".{name}", now[name]), within)
    for word in ("items", "additionalProperties"):
        parts = old.schema.get(word), new.schema.get(word)
        if all(isinstance(part, dict) for part in parts):
            yield from lost(old.within("", parts[0]), new.within("", parts[1]), within)
