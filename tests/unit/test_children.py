"""Children: a key that looks like a number is never taken for the number of a call."""

from datetime import UTC, datetime

import pytest

from program_service.bookkeeping.lifecycle import Claimed
from program_workers.children import ChildProgram, Children


class Stored:
    """Stands for the table: starts a program for each name that is not there yet."""

    def __init__(self, **names: str) -> None:
        """Begin with {name: run_id}."""
        self.names = dict(names)

    async def start_program(
        self, parent: Claimed, child: ChildProgram, name: str, *, formerly: str | None = None
    ) -> str:
        """Return the run_id of the program that has this name, or had it formerly."""
        del parent, child
        if name not in self.names and formerly in self.names:
            return self.names[formerly]
        return self.names.setdefault(name, f"run-{len(self.names) + 1}")

    async def tried(self, keys: list[str | None]) -> list[str]:
        """Start children with these keys in one try of the step."""
        children = Children(PARENT, self)
        return [await children.start(ChildProgram(["ship"], key=key)) for key in keys]


NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARENT = Claimed(
    id=7,
    run_id="run-1",
    lease="a-lease",
    jobs=["pack"],
    step=0,
    step_retry_count=0,
    lease_losses=0,
    program_data={},
    job_data={},
    created_at=NOW,
    claimed_at=NOW,
    version=2,
)


@pytest.mark.parametrize(
    "keys",
    [
        [None, None],
        ["2", None],
        [None, None, "2"],
        ["1", "2", "3", None, "4"],
        [None, "1", "ann", "01", "0-1", "1.5", None],
    ],
)
async def test_each_call_of_a_step_starts_a_child_of_its_own_and_each_try_the_same(
    keys: list[str | None],
) -> None:
    stored = Stored()
    first = await stored.tried(keys)
    assert len(set(first)) == len(keys)
    for tries in range(1, len(keys) + 1):
        assert await stored.tried(keys[:tries]) == first[:tries]
    assert len(stored.names) == len(keys)


async def test_names_of_numbered_and_of_other_keys_are_those_of_earlier_releases() -> None:
    """While both releases work, each may try a step again that the other has begun."""
    stored = Stored()
    await stored.tried([None, "ann", None])
    assert list(stored.names) == ["0-1", "0-ann", "0-3"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([None, "ann"], ["old-1", "old-ann"]),
        # whichever comes first has started it, and the other was taken for it
        (["2", None], ["old-2", "run-4"]),
        ([None, None, "2"], ["old-1", "old-2", "run-4"]),
    ],
)
async def test_step_that_an_earlier_release_began_starts_no_child_twice(
    keys: list[str | None], expected: list[str]
) -> None:
    stored = Stored(**{"0-1": "old-1", "0-2": "old-2", "0-ann": "old-ann"})
    for _ in range(2):
        assert await stored.tried(keys) == expected
