"""Endpoints: callback jobs as they are registered, and as a worker calls them."""

from dataclasses import dataclass, field
from datetime import datetime

from program_service.bookkeeping.ledger.registry import DEFAULT_TIMEOUT_S, Endpoint, Job
from program_service.bookkeeping.retry import LONGEST_S, Retry
from program_service.webhooks.signing import require_secret


@dataclass(frozen=True, slots=True)
class CallbackJob:
    """A registered endpoint, as the worker calls it."""

    name: str
    endpoint: Endpoint
    queue: str
    timeout_s: float
    retry: Retry = field(default_factory=Retry)
    registered_at: datetime | None = None
    host: str = ""
    """The host that it is on, as `https://billing.example`."""

    @classmethod
    def of(cls, job: Job) -> "CallbackJob":
        """Take what the registry says.

        Raises:
            ValueError: it could not be called; nobody registers such an endpoint over the API.
        """
        assert job.endpoint is not None
        for each in job.endpoint.secrets:
            require_secret(each.secret)
        if job.timeout_s is not None and not 0 < job.timeout_s <= LONGEST_S:
            msg = f"timeout_s is {job.timeout_s}; it must be above 0 and at most {LONGEST_S:.0f}"
            raise ValueError(msg)
        return cls(
            name=job.name,
            endpoint=job.endpoint,
            queue=job.queue,
            timeout_s=job.timeout_s or DEFAULT_TIMEOUT_S,
            retry=job.retry,
            registered_at=job.last_seen_at,
            host=job.endpoint.host,
        )

    @property
    def max_concurrency(self) -> int | None:
        """How many calls one worker makes at a time."""
        return self.endpoint.max_concurrency
