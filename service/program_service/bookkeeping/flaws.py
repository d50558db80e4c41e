"""Flaws: why a row cannot be run, in words.

What we write has none; people and other programs write into the table, too.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from program_service.bookkeeping.stored import EARLIEST, LATEST, ParsedText, UnreadableJson

UNREADABLE = "unreadable_row"
"""The code of the error that a program ends with whose row has a flaw."""

KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    ParsedText: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
}


def unreadable(flaw: str) -> str:
    """Say that a row has a flaw."""
    return f"This row cannot be read: {flaw}."


def flaw_of_program(jobs: Any, step: Any, program_data: Any, job_data: Any) -> str | None:
    """Return the first flaw of a program that has not ended, its JSON columns as they were read."""
    if type(jobs) is not list or not jobs or not {str}.issuperset(map(type, jobs)):
        return _flaw_of_jobs(jobs)
    if type(step) is not int or not 0 <= step < len(jobs):
        given = step if type(step) is int else kind_of(step)
        return f"step is {given}, and must be from 0 to {len(jobs) - 1}"
    if type(program_data) is not dict:
        return not_an_object("program_data", program_data)
    # the data of jobs that have run are nobody's business any more
    return flaw_of_data(jobs[step:], job_data)


def flaw_of_data(jobs: Sequence[str], job_data: Any) -> str | None:
    """Return the first flaw of the job data of these jobs."""
    if type(job_data) is not dict:
        return not_an_object("job_data", job_data)
    for job in jobs if job_data else ():
        if type(data := job_data.get(job, job_data)) is not dict:
            return not_an_object(f"job_data.{job}", data)
    return None


def flaw_of_facts(created_at: datetime, step_retry_count: Any, lease_losses: Any) -> str | None:
    """Return the first flaw of what is counted of a program; only SQLite keeps texts in numbers."""
    if created_at is EARLIEST or created_at is LATEST:
        return "created_at is no moment between the years 1 and 9999"
    for name, count in (("step_retry_count", step_retry_count), ("lease_losses", lease_losses)):
        if type(count) is not int:
            return f"{name} is {kind_of(count)}, not a whole number"
    return None


def kind_of(value: Any) -> str:
    """Say what kind of value JSON holds."""
    return KINDS.get(type(value), "no JSON")


def not_an_object(place: str, value: Any) -> str:
    """Say that a value is not the object that it must be."""
    if isinstance(value, UnreadableJson):
        return f"{place} is JSON that no program can read ({value.reason})"
    return f"{place} is {kind_of(value)}, not an object"


def _flaw_of_jobs(jobs: Any) -> str:
    if isinstance(jobs, UnreadableJson):
        return f"jobs is JSON that no program can read ({jobs.reason})"
    if not isinstance(jobs, list) or not jobs:
        return f"jobs is {'an empty list' if jobs == [] else kind_of(jobs)}, not a list of names"
    at, job = next((at, job) for at, job in enumerate(jobs) if type(job) is not str)
    return f"jobs[{at}] is {kind_of(job)}, not a name"
