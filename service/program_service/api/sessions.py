"""Sessions over HTTP: who is signed in to the dashboard, and ended by `admin`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from program_service.api.access import Limit, SessionListModel, paged
from program_service.api.bodies import KeyedRoute
from program_service.api.endpoints import Admin
from program_service.api.responses import problems
from program_service.api.services import Serving
from program_service.bookkeeping.ledger.api_keys import ID_DIGITS, id_of
from program_service.bookkeeping.ledger.pages import BadCursor
from program_service.bookkeeping.ledger.sessions import Session, end_session, list_sessions
from program_service.logs import log
from program_service.telemetry import Event

router = APIRouter(prefix="/sessions", tags=["keys"], route_class=KeyedRoute)

SessionId = Annotated[
    str,
    Path(
        pattern=rf"^[0-9a-f]{{{ID_DIGITS}}}$",
        description="The session's id, as `GET /sessions` lists it.",
        examples=["60303ae22b998861"],
    ),
]


@router.get(
    "",
    operation_id="list_sessions",
    summary="List sessions of the dashboard",
    responses={200: {"model": SessionListModel, "description": "A page."}, **problems()},
)
async def get_sessions(
    services: Serving,
    actor: Admin,
    limit: Limit = 200,
    cursor: Annotated[
        str | None, Query(max_length=100, description="From the Link header of the page before.")
    ] = None,
) -> Response:
    """List the browsers that are signed in."""
    del actor
    if cursor is not None and not cursor.isalnum():
        raise BadCursor
    found = await services.database.read(
        list_sessions,
        idle_s=services.settings.session_idle_s,
        limit=limit + 1,
        after=f"{cursor}g" if cursor else "",  # "g" follows all digits of hashes
    )
    page = [_shown(session) for session in found[:limit]]
    next_cursor = page[-1]["id"] if len(found) > limit else None
    return paged("/sessions", page, next_cursor, limit=limit)


@router.delete(
    "/{session_id}",
    status_code=204,
    operation_id="end_session",
    summary="End a session of the dashboard",
    responses={204: {"description": "It has ended."}, **problems(404)},
)
async def remove_session(session_id: SessionId, services: Serving, actor: Admin) -> Response:
    """Sign a browser out; its next request is asked for a key."""
    entry = actor.entry("session_ended", target=session_id)
    await services.database.transact(end_session, session_id, entry)
    by, client = actor.by, actor.client
    log.info(Event.AUDIT_SESSION_ENDED, session_id=session_id, by=by, client=client)
    return Response(status_code=204)


def _shown(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "key_id": id_of(session.key_digest),
        "key_name": session.key_name,
        "created_at": session.created_at,
        "last_seen_at": session.last_seen_at,
        "expires_at": session.expires_at,
    }
