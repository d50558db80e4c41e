"""Sites: what a browser is told to send by a page of another site, by the one rule for all.

Browsers say where a request comes from, and no page can change what they say. They say it as
`Sec-Fetch-Site` to https and to loopback alone, and as `Origin` everywhere. What says neither is no
browser. Go's `http.CrossOriginProtection` has the same rule.
"""

from urllib.parse import urlsplit

from fastapi import Request

from program_service.api.problems import Problem

NO_OTHER_SITE = frozenset({"same-origin", "none"})
"""What our own pages and people who type an address send as Sec-Fetch-Site."""


def refuse_other_sites(request: Request) -> None:
    """Let a request pass that no page of another site has caused.

    Raises:
        Problem: the browser says that it comes from elsewhere.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    is_ours = site in NO_OTHER_SITE if site else origin is None or _is_host_of(request, origin)
    if not is_ours:
        raise Problem(403, "cross_site", "This was sent by a page of another site.")


def _is_host_of(request: Request, origin: str) -> bool:
    try:
        return urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # it is no address at all
        return False
