"""Commands for those who write endpoints: check-endpoint."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands.printing import echo, print_json
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_executor.endpoint_check.calling import Plan
    from program_executor.endpoint_check.findings import Finding

MARKS = {"right": "ok   ", "note": "note ", "warning": "warn ", "wrong": "WRONG"}
WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not listened on


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check_endpoint)


def check_endpoint(
    url: Annotated[str, typer.Argument(help="Where it is called.", show_default=False)],
    *,
    secret: Annotated[
        str,
        typer.Option(
            envvar="PROGRAM_EXECUTOR_ENDPOINT_SECRET",
            help="The job's secret, whsec_….",
            show_default=False,
        ),
    ],
    job: Annotated[str, typer.Option(help="The job's name in the calls.")] = "check",
    program_data: Annotated[str, typer.Option(help="Data that the job can work with.")] = "{}",
    listen: Annotated[
        str, typer.Option(help="Where links are answered, HOST:PORT; port 0: a free one.")
    ] = "127.0.0.1:0",
    timeout: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="The job's timeout_s, in seconds.")
    ] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Play the protocol against an endpoint, and say what it does right and wrong.

    The job runs a few times: use a test system. The exit code is 1 if something is wrong.
    """
    import asyncio

    from program_executor.endpoint_check.calling import Plan
    from program_executor.endpoint_check.checks import check_endpoint as check

    host, port = _address(listen)
    plan = Plan(_url(url), _secret(secret), job, _data(program_data), timeout, host, port)
    tell = _keep_quiet if as_json else _print
    report = asyncio.run(check(plan, tell, links_host=_own_address(plan)))
    if as_json:
        found = [
            {"check": each.check, "verdict": each.verdict, "text": each.text}
            for each in report.findings
        ]
        print_json(found)
    if not report.is_right:
        raise typer.Exit(1)


def _print(finding: "Finding") -> None:
    echo(f"{MARKS[finding.verdict]} {finding.check}: {finding.text}")


def _keep_quiet(_finding: "Finding") -> None:
    pass


def _url(text: str) -> str:
    import httpx

    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        message = f"the endpoint's URL is none: {error}"
        raise UsageError(message) from error
    if url.scheme not in {"http", "https"} or not url.host:
        raise UsageError("the endpoint's URL must begin with http:// or https://, and name a host")
    if url.userinfo:
        raise UsageError("the endpoint's URL holds a user's name, which calls do not send")
    return text


def _secret(text: str) -> str:
    from program_service.webhooks.signing import require_secret

    try:
        return require_secret(text)
    except ValueError as error:
        message = f"--secret: {error}"
        raise UsageError(message) from None  # the cause might show it


def _data(text: str) -> dict[str, Any]:
    from program_executor.commands.submitting import read_json

    data = read_json(text, "--program-data")
    if not isinstance(data, dict):
        raise UsageError("--program-data must be a JSON object")
    return data


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 <= int(port) < 1 << 16:
        message = f"--listen is HOST:PORT, as in 127.0.0.1:8090, and not {text!r}"
        raise UsageError(message)
    return host, int(port)


def _own_address(plan: "Plan") -> str | None:
    """Return by which address the endpoint's host reaches this machine; None: as listened on."""
    import socket

    import httpx

    if plan.host not in WILDCARDS:
        return None
    url = httpx.URL(plan.url)
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            url.host, url.port or 443, type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)  # sends nothing: only looks up the way
            return str(probe.getsockname()[0])
    except OSError:
        return None
