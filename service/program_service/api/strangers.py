"""Strangers: whoever tries wrong keys, tokens and sign-ins is told to wait, by address.

Only what was found to be wrong is counted, so a right key is let through from any address at any
time. It spares the log and the database; what makes guessing hopeless are 256 random bits in each
key.
"""

import time
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from fastapi import Request

from program_service.api.actors import client_of, plain_address
from program_service.api.problems import Problem
from program_service.api.quotas import Quota
from program_service.logs import log
from program_service.telemetry import Event

WINDOW_S = 60.0
NAT64 = IPv6Network("64:ff9b::/96")
"""What all of IPv4 looks like behind a translator."""

HOST_BITS = 64
"""One network of IPv6 gives its owner so many bits to choose addresses from."""


class Strangers:
    """Those who failed lately."""

    def __init__(self, *, per_minute: int) -> None:
        """Let each address fail so often in a minute; 0 lets them fail as often as they like."""
        self._failed = Quota(per_minute, WINDOW_S) if per_minute else None

    def note(self, request: Request, what: str) -> None:
        """Count a failed try of a `key`, a `token` or a `sign-in`.

        Raises:
            Problem: it was one too many.
        """
        client = client_of(request)
        standing = self._failed and self._failed.spend(network_of(client), time.monotonic())
        if not standing or not standing.overdrawn:
            log.info(Event.AUDIT_REFUSED, what=what, client=client)
            return
        if standing.overdrawn == 1:  # the others of the window would fill the log
            log.warning(Event.AUDIT_TOO_MANY, what=what, client=client, seconds=standing.reset_s)
        detail = (
            f"Too many failed tries from this address; wait {standing.reset_s} s."
            " A right key is let through meanwhile."
        )
        headers = {"Retry-After": str(standing.reset_s)}
        raise Problem(429, "too_many_failed_tries", detail, headers=headers)


def network_of(client: str) -> str:
    """Return what is counted for an address: itself, or the network of an IPv6 address."""
    try:
        address = ip_address(plain_address(client))
    except ValueError:
        return client
    if isinstance(address, IPv6Address) and address in NAT64:
        return str(IPv4Address(int(address) & 0xFFFFFFFF))
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> HOST_BITS << HOST_BITS))
    return str(address)
