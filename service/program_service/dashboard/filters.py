"""Filters: what the list of programs shows, as it stands in the address of the page."""

import re
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from program_service.api.problems import Problem, words_of
from program_service.api.queries import Label, Text
from program_service.bookkeeping.ledger.reading import Filter
from program_service.bookkeeping.lifecycle import Status

IN_PROGRESS = "in_progress"
CHOICES = [IN_PROGRESS, *(status.value for status in Status)]

NUMBER = re.compile(r"[0-9]{1,9}")

WITHIN = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}


class Action(StrEnum):
    """What can be done to all programs of a filter."""

    CANCEL = "cancel"
    RESUME = "resume"


class Filters(BaseModel):
    """The fields of the form above the list; empty ones mean anything."""

    model_config = ConfigDict(extra="ignore")

    status: Literal["in_progress"] | Status | None = None
    job: Text | None = None
    queue: Text | None = None
    label: Label | None = None
    retries: int | None = Field(None, ge=0, lt=2**31)
    error: Text | None = None
    within: Literal["1h", "24h", "7d"] | None = None
    order: Literal["newest", "oldest"] = "newest"
    cursor: str | None = Field(None, max_length=200)

    @classmethod
    def read(cls, fields: dict[str, str]) -> Self:
        """Read a query or a form.

        Raises:
            Problem: a field is of no form.
        """
        given = {name: value.strip() for name, value in fields.items() if value.strip()}
        if "error" in given:
            # a search in texts without a bound would read every program
            given.setdefault("within", "7d")
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise Problem(422, "invalid", words_of(error)) from error

    def given(self, **changed: Any) -> dict[str, Any]:
        """Return the fields that are not empty, for an address, with some changed."""
        return self.model_dump(mode="json", exclude_defaults=True) | changed

    def as_filter(self, now: datetime) -> Filter:
        """Return the filter in the words of the ledger."""
        is_open = self.status == IN_PROGRESS
        return Filter(
            status=None if is_open or self.status is None else Status(self.status),
            is_in_progress=is_open,
            job=self.job,
            queue=self.queue,
            labels=[self.label.split(":", 1)] if self.label else [],  # type: ignore[list-item]
            step_retry_count_gte=self.retries,
            created_after=now - WITHIN[self.within] if self.within else None,
            error=self.error,
            is_oldest_first=self.order == "oldest",
        )

    def concerned(self, action: Action, now: datetime) -> Filter:
        """Return which of the programs an action can be done to."""
        wanted = self.as_filter(now)
        if action is Action.CANCEL:
            return replace(wanted, is_in_progress=True)
        return replace(wanted, status=wanted.status or Status.ERRORED)


def number_of(text: str) -> int | None:
    """Return the number that a field holds, if it is one."""
    return int(text) if NUMBER.fullmatch(text) else None


async def filters_of(request: Request) -> Filters:
    """Read the filters of an address."""
    return Filters.read(dict(request.query_params))


Filtering = Annotated[Filters, Depends(filters_of)]


TOLD = ("cancelled", "resumed", "refused")


def told_of(request: Request) -> dict[str, int]:
    """Return what was just done to many programs, as the address says: {what: how many}."""
    given = {name: number_of(request.query_params.get(name, "")) for name in TOLD}
    return {name: value for name, value in given.items() if value is not None}
