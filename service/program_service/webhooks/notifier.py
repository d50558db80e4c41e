"""Notifier: what the API asks of notifications, and the loops that send them."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import SecretStr

from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.reading import Program
from program_service.telemetry import Metrics
from program_service.webhooks.caller import Caller
from program_service.webhooks.cancels import Cancels
from program_service.webhooks.courier import Courier
from program_service.webhooks.ends import Ends
from program_service.webhooks.errors import BadWebhookSetting, Forbidden
from program_service.webhooks.guard import Guard
from program_service.webhooks.signing import require_secret


class Notifier:
    """Sends the ends of programs to `notify` addresses, and cancels to endpoints."""

    def __init__(  # noqa: PLR0913 - what notifying needs comes from many parts
        self,
        database: Database,
        caller: Caller,
        guard: Guard,
        metrics: Metrics,
        *,
        secret: SecretStr | None,
        describe: Callable[[Program], Mapping[str, Any]],
    ) -> None:
        """Take who calls, where results are counted, what signs, and how a program is shown.

        Raises:
            BadWebhookSetting: the secret is not one.
        """
        self._guard = guard
        courier = Courier(caller, metrics)
        self._cancels = Cancels(database, courier, metrics)
        self._ends = (
            Ends(
                database,
                courier,
                metrics,
                secret=_checked(secret.get_secret_value()),
                describe=describe,
            )
            if secret
            else None
        )

    @property
    def loops(self) -> list[Ends | Cancels]:
        """The loops that send."""
        return [self._cancels, *([self._ends] if self._ends else [])]

    def require_tellable(self, url: str) -> None:
        """Require that an address can be notified.

        Raises:
            Forbidden: it may not be called, or nothing is there to sign with.
        """
        if self._ends is None:
            rule = "no_secret"
            raise Forbidden(rule, "notifications are disabled: set NOTIFY_SECRET")
        self._guard.check_url(url)

    def tell_cancelled(self, program: Program) -> None:
        """Notify the endpoint of the current job, if it has a `cancel_url`, soon."""
        self._cancels.add(program)


def _checked(secret: str) -> str:
    try:
        return require_secret(secret)
    except ValueError as error:
        msg = f"PROGRAM_EXECUTOR_NOTIFY_SECRET: {error}"
        raise BadWebhookSetting(msg) from error
