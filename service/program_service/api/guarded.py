"""Guarded: the headers that keep a browser from doing harm with an answer, as plain ASGI.

They are those of OWASP's REST security cheat sheet; the pages have a wider policy of their own.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""An answer that has one of these itself knows better."""

NO_STORE = (b"cache-control", b"no-store")
"""For answers without an ETag: the others are kept, and asked for again."""

HSTS = (b"strict-transport-security", b"max-age=31536000")
"""For a year, and for this host alone: of others under its name we know nothing."""

_RAW = [(name.lower().encode(), value.encode()) for name, value in ALWAYS.items()]
_NAMES = frozenset(name for name, _ in _RAW)
_KEPT = frozenset({b"cache-control", b"etag"})


class Guarded:
    """Put the headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}  # in lower case, as ASGI says
                # nearly every answer of the API has none of them: this is the way of a submit
                ours = _RAW if names.isdisjoint(_NAMES) else _without(names)
                headers = [*message["headers"], *ours]
                if names.isdisjoint(_KEPT):
                    headers.append(NO_STORE)
                if scope.get("scheme") == "https":
                    headers.append(HSTS)
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, guarded)


def _without(names: set[bytes]) -> list[tuple[bytes, bytes]]:
    return [each for each in _RAW if each[0] not in names]
