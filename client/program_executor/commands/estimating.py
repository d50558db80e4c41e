"""Estimating: how long the rest of a program takes, from how long its jobs took before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from program_executor.commands.printing import try_s
from program_executor.exchange import ProblemError

if TYPE_CHECKING:
    from program_executor.client import Client
    from program_executor.shapes import Attempt, Program

LOOKED_AT = 20
"""So many of the newest finished programs are looked at, for some of the same jobs."""

EXAMPLES = 5

WORKING = {"done", "yielded"}
"""Outcomes of tries that brought a step forward; how long failures take says nothing."""


def past_attempts(client: "Client", program: "Program") -> "list[Sequence[Attempt]]":
    """Return the tries of some programs that had the same jobs and finished of late."""
    try:
        newest = client.page(status="finished", limit=LOOKED_AT)["programs"]
        alike = [each["run_id"] for each in newest if each["jobs"] == program["jobs"]]
        return [newest_attempts(client, run_id) for run_id in alike[:EXAMPLES]]
    except ProblemError:
        return []  # one may be deleted at this moment: then there is no estimate


def newest_attempts(client: "Client", run_id: str) -> "list[Attempt]":
    """Return the last tries of a program, as many as a page has, in the order of their ends."""
    return client.attempt_page(run_id, order="newest")["attempts"][::-1]


def usual_times(programs: "Iterable[Sequence[Attempt]]") -> dict[str, float]:
    """Return {job: seconds}, the median of its steps that are done."""
    times = defaultdict(list)
    for attempts in programs:
        for job, seconds in _done_steps(attempts):
            times[job].append(seconds)
    return {job: median(seconds) for job, seconds in times.items()}


def _done_steps(attempts: "Sequence[Attempt]") -> "Iterable[tuple[str, float]]":
    done = {each["step"]: each["job"] for each in attempts if each["outcome"] == "done"}
    for step, job in done.items():
        tries = [each for each in attempts if each["step"] == step and each["outcome"] in WORKING]
        yield job, sum(map(try_s, tries))


def seconds_left(
    program: "Program", usual: Mapping[str, float], *, running_s: float
) -> float | None:
    """Return how long the rest will take; None while it does not run, or when nothing is known."""
    rest = program["jobs"][program["step"] :]
    if program["status"] != "running" or any(job not in usual for job in rest):
        return None
    return max(0.0, usual[rest[0]] - running_s) + sum(usual[job] for job in rest[1:])
