"""Hosts: where anybody on this machine may call, only by names of this machine, as plain ASGI.

A page of another site may have its own name lead to 127.0.0.1 once it is open (DNS rebinding). Its
browser then takes our answers for that site's. What gives it away is `Host`, which no page can
change.
"""

from functools import lru_cache
from urllib.parse import urlsplit

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from program_service.api.auth import is_loopback
from program_service.api.authenticator import Authenticator
from program_service.api.problems import answer
from program_service.settings import PREFIX, Settings


class LocallyNamed:
    """Refuse requests to other hosts, while no keys are there to stop them."""

    def __init__(self, app: ASGIApp, *, service_url: str, authenticator: Authenticator) -> None:
        """Wrap an application that has this address, too, if it is not empty."""
        self._app = app
        self._authenticator = authenticator
        self._own = _name_in(urlsplit(service_url).netloc)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer those who mean this machine; whoever names no host is no browser."""
        if scope["type"] == "http" and self._authenticator.is_open:
            host = next((value for name, value in scope["headers"] if name == b"host"), b"")
            if host and not _is_ours(host, self._own):
                refused = _refusal(Request(scope), host.decode("latin-1"))
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_for_this_machine_alone(settings: Settings) -> bool:
    """Say whether the settings have no keys, and whoever calls has to be on this machine."""
    has_keys = bool(settings.api_keys.split())
    return not has_keys and not settings.allow_unauthenticated and is_loopback(settings.host)


@lru_cache(maxsize=64)  # every submit comes by here: it halves the time
def _is_ours(host: bytes, own: str) -> bool:
    name = _name_in(host.decode("latin-1"))
    return bool(name) and (is_loopback(name) or name.endswith(".localhost") or name == own)


def _name_in(host: str) -> str:
    """Return the name or address in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _refusal(request: Request, host: str) -> ASGIApp:
    detail = (
        f"Without API keys this service answers to names of this machine alone, such as localhost,"
        f" and not to {host!r}. Set {PREFIX}API_KEYS; or {PREFIX}SERVICE_URL, if that is its"
        f" name; or {PREFIX}ALLOW_UNAUTHENTICATED=true, if everybody who can connect may do"
        " everything."
    )
    return answer(request, status=403, code="other_host", detail=detail)
