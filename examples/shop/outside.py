"""Outside: what stands in for a payment service, a carrier and a mail server."""

from dataclasses import dataclass, field
from datetime import timedelta


class PaymentsBusy(Exception):
    """The payment service asks to come again later."""


class CardDeclined(Exception):
    """The bank said no."""


class CarrierDown(Exception):
    """The carrier does not answer; it says itself that this may pass."""

    retryable = True
    after = timedelta(minutes=5)
    code = "carrier_down"


@dataclass
class Payments:
    """A payment service that deduplicates by the caller's key, as the real ones do."""

    busy_times: int = 0
    charges: dict[str, int] = field(default_factory=dict)
    """{idempotency key: cents}"""

    async def charge(self, card: str, cents: int, *, key: str) -> str:
        """Charge a card, at most once for each key, and return the receipt."""
        if card == "declined":
            raise CardDeclined
        self.charges[key] = cents
        if self.busy_times > 0:  # the money is taken, and the answer is lost: the worst case
            self.busy_times -= 1
            raise PaymentsBusy
        return f"receipt {key}"


@dataclass
class Carrier:
    """A carrier that takes parcels."""

    down_times: int = 0
    labels: list[str] = field(default_factory=list)

    async def send(self, parcel: str) -> str:
        """Take a parcel and return its tracking number."""
        if self.down_times > 0:
            self.down_times -= 1
            raise CarrierDown
        self.labels.append(parcel)
        return f"track-{parcel}"


@dataclass
class Mailbox:
    """A mail server."""

    sent: list[str] = field(default_factory=list)

    async def send(self, address: str) -> None:
        """Send a mail."""
        self.sent.append(address)
