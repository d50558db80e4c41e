"""Queries: what may be asked of the list of programs."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from program_service.api.schemas import Moment
from program_service.bookkeeping.ledger.reading import Filter
from program_service.bookkeeping.lifecycle import Status

MAX_PAGE = 200
MAX_NAMED = 1_000
"""Of jobs and workers in a page."""

MOST_DAYS = 31
"""Of programs whose error messages are searched."""

Text = Annotated[str, StringConstraints(max_length=255, pattern=r"^[^\x00]*$")]
Label = Annotated[str, StringConstraints(max_length=400, pattern=r"^[^:\x00]+:[^\x00]*$")]


class AttemptQuery(BaseModel):
    """Order and page of the tries of a program."""

    model_config = ConfigDict(extra="forbid")

    order: Literal["newest", "oldest"] = Field("oldest", description="Which come first.")
    limit: int = Field(
        MAX_PAGE,
        ge=1,
        le=MAX_PAGE,
        description="How many a page has; fewer, where they come to more than 1 MiB.",
    )
    cursor: str | None = Field(
        None, max_length=200, description="From the Link header of the page before."
    )


class PageQuery(BaseModel):
    """Page of a list by names."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(
        MAX_NAMED,
        ge=1,
        le=MAX_NAMED,
        description="How many a page has; fewer, where they come to more than 1 MiB.",
    )
    cursor: str | None = Field(
        None, max_length=4_000, description="From the Link header of the page before."
    )


class ProgramQuery(BaseModel):
    """Filters, order and page of a list."""

    model_config = ConfigDict(extra="forbid")

    status: Status | None = Field(None, description="Only programs of this status.")
    job: Text | None = Field(None, description="Only programs whose current job this is.")
    queue: Text | None = Field(None, description="Only programs in this queue.")
    label: list[Label] = Field(
        default_factory=list, description="Only with this label, as `key:value`; may be repeated."
    )
    in_progress: bool = Field(default=False, description="Only programs that have not ended.")
    step_retry_count_gte: int | None = Field(
        None, ge=0, lt=2**31, description="Only with so many retries of the current step."
    )
    created_after: Moment | None = Field(None, description="Only programs submitted later.")
    created_before: Moment | None = Field(None, description="Only programs submitted earlier.")
    error: Text | None = Field(
        None,
        min_length=1,
        description=(
            "Only with this in `error_message`; needs `created_after`, within 31 days before"
            " `created_before`, or before now."
        ),
    )
    order: Literal["newest", "oldest"] = Field("newest", description="Which come first.")
    include: Literal["data"] | None = Field(
        None,
        description="`data` returns `program_data` and `job_data`, too; pages are shorter then.",
    )
    limit: int = Field(
        50,
        ge=1,
        le=MAX_PAGE,
        description="How many a page has; fewer, where they come to more than 1 MiB.",
    )
    cursor: str | None = Field(
        None, max_length=200, description="From the Link header of the page before."
    )

    @model_validator(mode="after")
    def _error_needs_a_bound(self) -> Self:
        if self.error is None:
            return self
        if self.created_after is None:
            msg = "error needs created_after: a search in texts without it would read every program"
            raise ValueError(msg)
        now = datetime.now(UTC)
        until = min(self.created_before or now, now)
        if until - self.created_after > timedelta(days=MOST_DAYS + 1):  # the last page, too
            msg = (
                f"error searches {MOST_DAYS} days at most: created_after must be within"
                f" {MOST_DAYS} days before created_before, or before now"
            )
            raise ValueError(msg)
        return self

    def as_filter(self) -> Filter:
        """Return the filter in the words of the ledger."""
        return Filter(
            status=self.status,
            job=self.job,
            queue=self.queue,
            labels=[(key, value) for key, _, value in (each.partition(":") for each in self.label)],
            is_in_progress=self.in_progress,
            step_retry_count_gte=self.step_retry_count_gte,
            created_after=self.created_after,
            created_before=self.created_before,
            error=self.error,
            is_oldest_first=self.order == "oldest",
            has_data=self.include == "data",
        )
