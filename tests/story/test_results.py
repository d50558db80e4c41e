"""Results: what a job returns is stored, or refused with a message that says why."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from math import nan
from typing import Any

import pytest

from program_executor import JobContext, ThreadJobContext, job
from program_service.bookkeeping.lifecycle import Status
from stage import Stage


@job
async def bystander(_ctx: JobContext) -> None:
    """Do nothing, on the same worker."""


def nested(levels: int) -> dict[str, Any]:
    """Return an object that nests so deep."""
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"in": value}
    return value


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (["a", "list"], "must be a dict, not list"),
        ("text", "must be a dict, not str"),
        ({"a": {1, 2}}, "a is a set; store a list"),
        ({"a": object()}, "a is an object; JSON has objects"),
        ({1: "a"}, "has a key that is 1"),
        ({"a": 2**63}, "a is an integer beyond 64 bits"),
        ({"a": 2**64}, "a is an integer beyond 64 bits"),
        ({"a": "\ud800"}, "a holds half of a surrogate pair"),
        ({"x": {"deep": [0, {"y": nan}]}}, "x.deep[1].y is NaN; JSON has finite numbers only"),
        ({"a": Decimal("9.99")}, "a is Decimal('9.99')"),
        ({"a": (1, 2)}, "a is a tuple; store a list"),
        ({"a": ["b\0c"]}, "the character NUL"),
        ({"a\0": 1}, "the character NUL"),
    ],
)
async def test_what_cannot_be_stored_fails_with_a_clear_message(
    stage: Stage, result: Any, message: str
) -> None:
    @job
    async def odd(_ctx: JobContext) -> Any:
        return result

    await stage.hire(odd, bystander)
    program = await stage.ended(await stage.submit("odd", "bystander"))
    assert (program.status, program.step, program.job_data) == (Status.ERRORED, 0, {})
    assert program.error_message is not None
    assert program.error_message.startswith("what job 'odd' returned")
    assert message in program.error_message


@pytest.mark.parametrize("levels", [50, 100, 101, 200, 250, 252, 254, 1_000])
async def test_deep_result_is_stored_or_refused_and_never_harms_neighbours(
    stage: Stage, levels: int
) -> None:
    """Invariant 12: one bad row never fails its neighbours."""

    together = asyncio.Barrier(4)  # so that their outcomes share a transaction

    @job
    async def deep(_ctx: JobContext) -> Any:
        await together.wait()
        return nested(levels)

    @job
    async def flat(_ctx: JobContext) -> Any:
        await together.wait()
        return {"is": "flat"}

    await stage.hire(deep, flat)
    run_ids = [await stage.submit("flat") for _ in range(3)]
    program = await stage.ended(await stage.submit("deep"))
    for run_id in run_ids:
        await stage.finished(run_id)
    if program.status is Status.ERRORED:
        assert program.error_message is not None
        assert "deep" in program.error_message
    else:
        assert program.job_data == {"deep": nested(levels)}


async def test_job_data_that_cannot_be_stored_raises_in_the_job(stage: Stage) -> None:
    caught: list[str] = []

    @job
    async def careless(ctx: JobContext) -> None:
        try:
            await ctx.job_data.merge({"when": object()})
        except ValueError as error:
            caught.append(str(error))
        await ctx.job_data.set({"is_fine": True})

    await stage.hire(careless)
    program = await stage.finished(await stage.submit("careless"))
    assert program.job_data == {"careless": {"is_fine": True}}
    assert "the job data of 'careless': when is an object; JSON has objects" in caught[0]


ODD = {"x": {"deep": [0, {"y": nan}]}}
WHERE = "x.deep[1].y is NaN; JSON has finite numbers only"


async def _set(ctx: JobContext) -> None:
    await ctx.job_data.set(ODD)


async def _merge(ctx: JobContext) -> None:
    await ctx.job_data.merge(ODD)


async def _checkpoint(ctx: JobContext) -> None:
    await ctx.job_data.checkpoint(ODD, 60.0)


async def _start(ctx: JobContext) -> None:
    await ctx.start_program(["bystander"], program_data=ODD)


async def _return(_ctx: JobContext) -> Any:
    return ODD


def _return_plainly(_ctx: ThreadJobContext) -> Any:
    return ODD


def _set_plainly(ctx: ThreadJobContext) -> None:
    ctx.job_data.set(ODD)


def _merge_plainly(ctx: ThreadJobContext) -> None:
    ctx.job_data.merge(ODD)


def _checkpoint_plainly(ctx: ThreadJobContext) -> None:
    ctx.job_data.checkpoint(ODD, 60.0)


def _start_plainly(ctx: ThreadJobContext) -> None:
    ctx.start_program(["bystander"], job_data={"bystander": ODD})


PATHS: dict[str, tuple[Callable[..., Any], str]] = {
    "return": (_return, f"what job 'return' returned: {WHERE}"),
    "set": (_set, f"the job data of 'set': {WHERE}"),
    "merge": (_merge, f"the job data of 'merge': {WHERE}"),
    "checkpoint": (_checkpoint, f"the job data of 'checkpoint': {WHERE}"),
    "start": (_start, f"program_data: {WHERE}"),
    "return plainly": (_return_plainly, f"what job 'return plainly' returned: {WHERE}"),
    "set plainly": (_set_plainly, f"the job data of 'set plainly': {WHERE}"),
    "merge plainly": (_merge_plainly, f"the job data of 'merge plainly': {WHERE}"),
    "checkpoint plainly": (_checkpoint_plainly, f"the job data of 'checkpoint plainly': {WHERE}"),
    "start plainly": (_start_plainly, f"job_data: bystander.{WHERE}"),
}


async def test_nan_is_never_stored_on_any_path_and_fails_the_step_at_once(stage: Stage) -> None:
    """It was stored as null."""
    await stage.hire(*(job(name)(function) for name, (function, _) in PATHS.items()), bystander)
    run_ids = {name: await stage.submit(name) for name in PATHS}
    for name, (_, said) in PATHS.items():
        program = await stage.ended(run_ids[name])
        assert (program.status, program.error_message) == (Status.ERRORED, said)
        assert (program.job_data, program.step_retry_count) == ({}, 0)


NUMBERS = {
    "floats": [0.1, 1.0, -0.0, 1e16, 1e22, 1e-7, 5e-324, 1.7976931348623157e308, 1e15],
    "integers": [0, 2**53 + 1, 10**18, 2**63 - 1, -(2**63)],
    "others": [True, False, None, "1.0", [], {}],
}


async def test_numbers_keep_value_and_type_from_job_to_job(stage: Stage) -> None:
    seen: list[str] = []

    @job
    async def first(ctx: JobContext) -> Any:
        await ctx.job_data.set({"set": NUMBERS})
        await ctx.job_data.merge({"merged": NUMBERS})
        return {"returned": ctx.program_data}

    @job
    def second(ctx: ThreadJobContext) -> None:
        seen.append(repr(ctx.results["first"]))

    await stage.hire(first, second)
    run_id = await stage.submit("first", "second", program_data=NUMBERS)
    program = await stage.finished(run_id)
    whole = {"set": NUMBERS, "merged": NUMBERS, "returned": NUMBERS}
    assert seen == [repr(whole)]
    assert repr(program.job_data["first"]) == repr(whole)
    assert repr(program.program_data) == repr(NUMBERS)
