"""Auditing: who did what, and who is signed in to the dashboard."""

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from program_executor.commands.asking import AsJson, Service, chosen_service
from program_executor.commands.composing import takes
from program_executor.commands.printing import echo, print_json_list, print_rows

if TYPE_CHECKING:
    from program_executor.access_shapes import AuditEntry, Session

ENTRY_COLUMNS = ("at", "actor", "action", "run_id", "target", "from", "reason")
SESSION_COLUMNS = ("id", "key", "last seen", "expires")
MAX_PAGE = 1_000

sessions = typer.Typer(help="Browsers that are signed in to the dashboard.", no_args_is_help=True)


@takes(service=chosen_service)
def audit(
    service: Service,
    run_id: Annotated[
        str | None, typer.Argument(help="Only of this program.", show_default=False)
    ] = None,
    *,
    actor: Annotated[
        str | None, typer.Option(help="Only of this key's name.", show_default=False)
    ] = None,
    action: Annotated[
        str | None, typer.Option(help="Only of one kind, as program_resumed.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List who did what, and why, the newest first."""
    size = min(limit, MAX_PAGE)
    with service.client() as client:
        entries = client.audit(run_id=run_id, actor=actor, action=action, limit=size)
        found = islice(entries, limit)
        if as_json:
            print_json_list(found)
        else:
            print_rows(ENTRY_COLUMNS, map(_entry_row, found))


def _entry_row(entry: "AuditEntry") -> tuple[str, ...]:
    return (
        entry["at"],
        entry["actor"],
        entry["action"],
        entry["run_id"] or "",
        entry["target"] or "",
        entry["client"] or "",
        entry["reason"] or "",
    )


@sessions.command("list")
@takes(service=chosen_service)
def list_sessions(service: Service, *, as_json: AsJson = False) -> None:
    """List who is signed in; needs a key with the scope admin."""
    with service.client() as client:
        if as_json:
            print_json_list(client.sessions())
        else:
            print_rows(SESSION_COLUMNS, map(_session_row, client.sessions()))


def _session_row(session: "Session") -> tuple[str, ...]:
    return session["id"], session["key_name"], session["last_seen_at"], session["expires_at"]


@sessions.command("end")
@takes(service=chosen_service)
def end_session(
    service: Service,
    session_id: Annotated[str, typer.Argument(help="Its id, as `sessions list` shows it.")],
) -> None:
    """Sign a browser out; its next request is asked for a key."""
    with service.client() as client:
        client.end_session(session_id)
    echo(f"Ended {session_id}.")
