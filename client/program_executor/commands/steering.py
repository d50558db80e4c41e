"""Steering: cancel and resume, one program or all that a filter finds."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands.asking import AsJson, Service, chosen_service
from program_executor.commands.completing import run_ids
from program_executor.commands.composing import takes
from program_executor.commands.printing import echo, print_json, program_line, terminal
from program_executor.commands.selecting import chosen_filters
from program_executor.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from program_executor.client import Client
    from program_executor.shapes import Filters, Program

AT_ONCE = 8
"""Calls at a time: many programs are steered soon, and the service has time for others."""

MAX_SHOWN = 20
MAX_PAGE = 200

Reason = Annotated[
    str | None,
    typer.Option(help="Why; it is kept in the audit trail.", show_default=False),
]
OneRunId = Annotated[
    str | None,
    typer.Argument(help="The program's run_id.", autocompletion=run_ids, show_default=False),
]
All = Annotated[bool, typer.Option("--all", help="All that the filters find.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="With --all: say how many and which, and do nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")]


@dataclass(frozen=True, slots=True)
class Steer:
    """What is done to a program."""

    verb: str
    done: str
    do: "Callable[[Client, str], Program]"
    only: "Filters"
    """Which programs it can be done to, when no status is given."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How it is done to many."""

    is_dry_run: bool
    is_agreed: bool
    is_json: bool


@takes(service=chosen_service, filters=chosen_filters)
def cancel(
    service: Service,
    filters: "Filters",
    run_id: OneRunId = None,
    *,
    reason: Reason = None,
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel a program, also one that runs; or --all that the filters find."""

    def end(client: "Client", one: str) -> "Program":
        return client.cancel(one, reason=reason)

    steer = Steer("cancel", "cancelled", end, {"in_progress": True})
    if one_is_meant(run_id, filters, is_all=all_ or dry_run):
        _steer_one(service, steer, run_id or "", is_json=as_json)
    else:
        _steer_all(service, steer, filters, Manner(dry_run, yes, as_json))


@takes(service=chosen_service, filters=chosen_filters)
def resume(
    service: Service,
    filters: "Filters",
    run_id: OneRunId = None,
    *,
    from_step: Annotated[
        int | None, typer.Option(min=0, help="The step to go on from.", show_default=False)
    ] = None,
    reason: Reason = None,
    all_: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Let an errored or cancelled program go on; or --all errored ones that the filters find."""

    def go_on(client: "Client", one: str) -> "Program":
        return client.resume(one, from_step=from_step, reason=reason)

    steer = Steer("resume", "resumed", go_on, {"status": "errored"})
    if one_is_meant(run_id, filters, is_all=all_ or dry_run):
        _steer_one(service, steer, run_id or "", is_json=as_json)
    else:
        _steer_all(service, steer, filters, Manner(dry_run, yes, as_json))


def one_is_meant(run_id: str | None, filters: "Filters", *, is_all: bool) -> bool:
    """Say whether one program is meant, and not all that the filters find.

    Raises:
        UsageError: nobody can tell.
    """
    is_filtered = any(value is not None for value in filters.values())
    if run_id is not None and (is_all or is_filtered):
        raise UsageError("give a run_id, or --all with filters, and not both")
    if run_id is None and not is_all:
        raise UsageError("give a run_id; or --all, with filters that say which (see list)")
    return run_id is not None


def _steer_one(service: Service, steer: Steer, run_id: str, *, is_json: bool) -> None:
    with service.client() as client:
        program = steer.do(client, run_id)
    if is_json:
        print_json(program)
    else:
        echo(program_line(program))


def _steer_all(service: Service, steer: Steer, filters: "Filters", manner: Manner) -> None:
    wanted: Any = {**filters, "limit": MAX_PAGE}
    if filters.get("status") is None:
        wanted |= steer.only
    with service.client() as client:
        # all are found before the first is touched: what is steered may match no more, or again
        found = [(each["run_id"], program_line(each)) for each in client.programs(**wanted)]
        if not manner.is_json:
            _tell_found(steer, [line for _, line in found], manner)
        found_ids = [run_id for run_id, _ in found]
        if manner.is_dry_run or not found:
            if manner.is_json:
                print_json({"found": found_ids, steer.done: [], "refused": []})
            return
        _require_agreement(steer, len(found), manner)
        refused = _do_all(client, steer, found_ids)
    done = [run_id for run_id in found_ids if run_id not in refused]
    if manner.is_json:
        told = [{"run_id": run_id, **problem} for run_id, problem in refused.items()]
        print_json({"found": found_ids, steer.done: done, "refused": told})
    else:
        _tell_done(steer, len(done), refused)
    if refused:
        raise typer.Exit(ExitCode.NOT_FINISHED)


def _tell_found(steer: Steer, lines: Sequence[str], manner: Manner) -> None:
    for line in lines[:MAX_SHOWN]:
        echo(f"  {line}")
    if len(lines) > MAX_SHOWN:
        echo(f"  … and {len(lines) - MAX_SHOWN:,} more")
    would = "would be" if manner.is_dry_run else "will be"
    echo(f"{_programs(len(lines))} {would} {steer.done}.")


def _require_agreement(steer: Steer, count: int, manner: Manner) -> None:
    if manner.is_agreed:
        return
    if manner.is_json or terminal() is None:
        message = f"--all would {steer.verb} {_programs(count)}: add --yes to do it"
        raise UsageError(message)
    typer.confirm(f"{steer.verb.capitalize()} {_programs(count)}?", abort=True)


def _do_all(client: "Client", steer: Steer, found: Sequence[str]) -> dict[str, Any]:
    """Steer all; return {run_id: problem} of those that the service refused."""
    from program_executor.exchange import ProblemError

    def attempt(run_id: str) -> dict[str, Any] | None:
        try:
            steer.do(client, run_id)
        except ProblemError as error:
            return {"code": error.code, "detail": error.problem.get("detail", str(error))}
        return None

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        problems = list(pool.map(attempt, found))
    finally:
        pool.shutdown(cancel_futures=True)
    return {run_id: each for run_id, each in zip(found, problems, strict=True) if each}


def _tell_done(steer: Steer, count: int, refused: dict[str, Any]) -> None:
    echo(f"{_programs(count)} {steer.done}.")
    for run_id, problem in refused.items():
        echo(f"{run_id}: {problem['code']}: {problem['detail']}", err=True)


def _programs(count: int) -> str:
    return f"{count:,} program{'' if count == 1 else 's'}"
