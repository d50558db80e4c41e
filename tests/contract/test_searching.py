"""Searching: labels and error messages, found as they were written."""

import pytest

from builders import by_hand, submitted
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import Filter, list_programs

KEYS = ["tenant", "a.b", "a b", "γλώσσα", "[0]", "$", "it's", "a/b", "a:b", "%s", "🚀", "0"]
AWKWARD_KEYS = ['say "hi"', "back\\slash", "new\nline"]


async def _found(database: Database, wanted: Filter) -> list[str]:
    page = await database.read(list_programs, wanted, limit=100)
    return sorted(program.run_id for program in page.programs)


async def _errored(database: Database, messages: dict[str, str]) -> None:
    for run_id, message in messages.items():
        await submitted(database, run_id)
        await by_hand(database, run_id, error_message=message)


@pytest.mark.parametrize("key", [*KEYS, *AWKWARD_KEYS])
async def test_label_is_found_under_any_key(database: Database, key: str) -> None:
    await submitted(database, "run-1", labels={key: "yes", "other": "x"})
    await submitted(database, "run-2", labels={key: "no"})
    await submitted(database, "run-3", labels={"other": "yes"})
    await submitted(database, "run-4")
    assert await _found(database, Filter(labels=[(key, "yes")])) == ["run-1"]


@pytest.mark.parametrize("value", ["1", "true", "null", "", '"', "{}", "Ωδή 🚀", "a\\b", "%", "'"])
async def test_label_is_found_with_any_value(database: Database, value: str) -> None:
    await submitted(database, "run-1", labels={"key": value})
    await submitted(database, "run-2", labels={"key": value + "x"})
    assert await _found(database, Filter(labels=[("key", value)])) == ["run-1"]


async def test_all_labels_are_to_be_there(database: Database) -> None:
    await submitted(database, "run-1", labels={"tenant": "acme", "tier": "gold"})
    await submitted(database, "run-2", labels={"tenant": "acme", "tier": "iron"})
    both = [("tenant", "acme"), ("tier", "gold")]
    assert await _found(database, Filter(labels=both)) == ["run-1"]
    assert await _found(database, Filter(labels=[("tenant", "acme")])) == ["run-1", "run-2"]
    assert await _found(database, Filter(labels=[("tenant", "acme"), ("tenant", "b")])) == []
    assert await _found(database, Filter(labels=[("tenant", "acm")])) == []


async def test_error_is_found_by_any_part_of_its_message(database: Database) -> None:
    await _errored(database, {"run-1": "the card was refused", "run-2": "the bank is closed"})
    await submitted(database, "run-3")
    assert await _found(database, Filter(error="card")) == ["run-1"]
    assert await _found(database, Filter(error="the ")) == ["run-1", "run-2"]
    assert await _found(database, Filter(error="the bank is closed.")) == []


@pytest.mark.parametrize("part", ["50%", "a_b", "c\\d", "e/f", "[g]", "*", "?", "'", "Ωδή"])
async def test_error_is_searched_for_literally(database: Database, part: str) -> None:
    decoy = "500 aXb cXd eXf g Ωδe"
    await _errored(database, {"run-1": f"before {part} after", "run-2": decoy})
    assert await _found(database, Filter(error=part)) == ["run-1"]


async def test_error_is_searched_for_in_its_case_on_every_database(database: Database) -> None:
    await _errored(database, {"run-1": "Timeout", "run-2": "timeout"})
    assert await _found(database, Filter(error="Timeout")) == ["run-1"]
