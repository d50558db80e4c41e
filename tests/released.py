"""Released: what the API has become breaks no client of the last release; part of `make check`.

`openapi/released.json` is the document of that release. What clients send must still be taken: its
schemas may only get wider. What clients are told must still be what they know: schemas may only get
narrower, or get more fields. For messages to endpoints it is the other way round.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from contracts import Operation, operations
from narrowing import Node, lost, narrowings

Json = dict[str, Any]

FOLDER = Path(__file__).parents[1] / "openapi"

HINT = """\
Clients of the last release would break. Add instead of changing: a new field, parameter or
operation beside the old one. If it must be, see CONTRIBUTING.md, "The API grows"."""


def breaking(old: Json, new: Json) -> list[str]:
    """Return what clients that were made for the old document miss in the new one."""
    found: list[str] = []
    for within in ("paths", "webhooks"):
        now = {(each.method, each.path): each for each in operations(new, within=within)}
        for before in operations(old, within=within):
            at = f"{before.method.upper()} {before.path}"
            after = now.get((before.method, before.path))
            if after is None:
                found.append(f"{at}: the operation is gone")
                continue
            found += [f"{at}: {each}" for each in _Change(old, new, within).of(before, after)]
    found += _gone("the schema", old["components"]["schemas"], new["components"]["schemas"])
    for name, scheme in old["components"]["securitySchemes"].items():
        now_scheme = new["components"]["securitySchemes"].get(name, {})
        if any(now_scheme.get(word) != scheme[word] for word in ("type", "scheme")):
            found.append(f"the security scheme {name} has changed")
    return list(dict.fromkeys(found))


def _gone(what: str, before: Iterable[str], now: Iterable[str]) -> list[str]:
    return [f"{what} {name} is gone" for name in sorted(set(before) - set(now))]


class _Change:
    """Two documents, and who sends what an operation is asked with: clients, or we."""

    def __init__(self, old: Json, new: Json, within: str) -> None:
        self._old, self._new = old, new
        self._is_ours = within == "webhooks"

    def of(self, before: Operation, now: Operation) -> Iterator[str]:
        """Name what has become of an operation that clients cannot do without."""
        for word in ("operationId", "tags"):  # generated clients make names of them
            if before.said[word] != now.said[word]:
                yield f"{word} {before.said[word]} is gone"
        if missing := _unmet(before.said["security"], now.said["security"]):
            yield f"security {missing} is not enough any more"
        yield from self._parameters(before.said, now.said)
        yield from self._body(before.said, now.said)
        answers = now.said["responses"]
        yield from _gone("the status", before.said["responses"], answers)
        for status, answer in before.said["responses"].items():
            if status in answers:
                yield from self._answer(status, answer, answers[status])

    def _parameters(self, before: Json, now: Json) -> Iterator[str]:
        old, new = _by_place(before), _by_place(now)
        yield from _gone("the parameter", (name for _, name in old.keys() - new.keys()), ())
        for place, parameter in new.items():
            known = old.get(place, {"required": False})
            name, is_needed = parameter["name"], parameter.get("required", False)
            was_needed = known.get("required", False)
            if is_needed not in {was_needed, self._is_ours}:
                yield f"the parameter {name} {'became required' if is_needed else 'may be missing'}"
            if place in old:
                schemas = known["schema"], parameter["schema"]
                yield from self._sent(name, *schemas)
                if schemas[0].get("default") != schemas[1].get("default"):
                    yield f"{name}: the default has changed"

    def _body(self, before: Json, now: Json) -> Iterator[str]:
        old, new = before.get("requestBody", {}), now.get("requestBody", {})
        if new.get("required", False) and not old.get("required", False):
            yield "the body became required"
        yield from _gone("the media type of the body", _kinds(old), _kinds(new))
        for schemas in _schemas(old, new):
            yield from self._sent("body", *schemas)

    def _answer(self, status: str, before: Json, now: Json) -> Iterator[str]:
        yield from _gone(f"{status}: the header", before.get("headers", ()), now.get("headers", ()))
        yield from _gone(f"{status}: the code", _codes(before), _codes(now))
        yield from _gone(f"{status}: the media type", _kinds(before), _kinds(now))
        for schemas in _schemas(before, now):
            yield from self._told(status, *schemas)

    def _sent(self, place: str, before: Json, now: Json) -> Iterator[str]:
        """Compare what an operation is asked with."""
        nodes = Node(before, self._old, place), Node(now, self._new, place)
        yield from _not_known(*nodes) if self._is_ours else _not_taken(*nodes)

    def _told(self, place: str, before: Json, now: Json) -> Iterator[str]:
        """Compare what an operation answers."""
        nodes = Node(before, self._old, place), Node(now, self._new, place)
        yield from _not_taken(*nodes) if self._is_ours else _not_known(*nodes)


def _not_taken(before: Node, now: Node) -> Iterator[str]:
    yield from lost(before, now)
    yield from (f"{each} is not taken any more" for each in narrowings(before, now))


def _not_known(before: Node, now: Node) -> Iterator[str]:
    yield from lost(before, now)
    yield from (f"{each} is new to clients" for each in narrowings(now, before))


def _unmet(before: list[Json], now: list[Json]) -> list[Json]:
    """Return the ways to be let in that are no longer enough; without any, everybody is let in."""
    return [each for each in before or [{}] if now and each not in now]


def _by_place(said: Json) -> dict[tuple[str, str], Json]:
    return {(each["in"], each["name"]): each for each in said.get("parameters", ())}


def _kinds(said: Json) -> Json:
    content: Json = said.get("content", {})
    return content


def _schemas(before: Json, now: Json) -> Iterator[tuple[Json, Json]]:
    """Yield both schemas of each media type that both have."""
    old, new = _kinds(before), _kinds(now)
    for kind in old:
        if kind in new:
            yield old[kind]["schema"], new[kind].get("schema", {})


def _codes(answer: Json) -> set[str]:
    return set(answer.get("content", {}).get("application/problem+json", {}).get("examples", {}))


if __name__ == "__main__":
    documents = [
        json.loads((FOLDER / name).read_bytes())
        for name in ("released.json", "program-executor.json")
    ]
    if found := breaking(*documents):
        sys.exit("\n".join([*found, HINT]))
