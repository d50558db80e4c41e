"""Pages: templates turned into answers, with the headers that keep a browser from doing harm."""

from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2
from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from program_service.dashboard import words
from program_service.telemetry import VERSION

HERE = Path(__file__).parent
PREFIX = "/ui"
LIST = f"{PREFIX}/programs"
ONE = f"{LIST}/{{run_id:path}}"
"""Where programs are, and where one of them is."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script or style runs, whatever a program's data says; nothing is loaded from afar."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What is wider than for the API's answers, or always so; `api.guarded` sets the rest."""


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= words.FILTERS
    environment.globals["version"] = VERSION
    return environment


ENVIRONMENT = _environment()


def page(
    request: Request, template: str, *, status: int = HTTPStatus.OK, **values: Any
) -> Response:
    """Render a page; everything that is shown is escaped."""
    html = ENVIRONMENT.get_template(template).render(
        base=base_of(request),
        path=request.url.path,
        here=here_of(request),
        caller=getattr(request.state, "caller", None),
        **values,
    )
    return HTMLResponse(html, status, headers=HEADERS)


def redirect(request: Request, path: str, **query: str) -> Response:
    """Send the browser on, by GET."""
    address = f"{base_of(request)}{path}" + (f"?{urlencode(query)}" if query else "")
    return RedirectResponse(address, HTTPStatus.SEE_OTHER, headers=HEADERS)


def to_program(request: Request, run_id: str) -> Response:
    """Send the browser on to the page of a program."""
    return redirect(request, f"{LIST}/{words.segment(run_id)}")


def base_of(request: Request) -> str:
    """Return the path under which a proxy shows the service, or nothing."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def here_of(request: Request) -> str:
    """Return the path and query of a request, without the proxy's part."""
    path = request.url.path.removeprefix(base_of(request))
    return f"{path}?{request.url.query}" if request.url.query else path
