"""Audit over HTTP: who did what, when, and why."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from program_service.api.access import MAX_PAGE, AuditListModel, paged
from program_service.api.auth import Scope
from program_service.api.bodies import KeyedRoute
from program_service.api.programs import Reader
from program_service.api.queries import Text
from program_service.api.responses import problems
from program_service.api.seen import find_seen
from program_service.api.services import Serving
from program_service.bookkeeping.ledger.auditing import Audited, AuditFilter, list_entries

router = APIRouter(tags=["audit"], route_class=KeyedRoute)


class AuditQuery(BaseModel):
    """Which entries, and how many."""

    model_config = ConfigDict(extra="forbid")

    run_id: Text | None = Field(None, description="Only what was done to a program.")
    actor: Text | None = Field(None, description="Only what was done with keys of this name.")
    action: Text | None = Field(None, description="Only one kind, as `program_resumed`.")
    limit: int = Field(50, ge=1, le=MAX_PAGE, description="How many a page has.")
    cursor: Annotated[str, StringConstraints(max_length=36, pattern=r"^[0-9a-f-]+$")] | None = (
        Field(None, description="From the Link header of the page before.")
    )


@router.get(
    "/audit",
    operation_id="list_audit",
    summary="List who did what",
    responses={200: {"model": AuditListModel, "description": "A page."}, **problems()},
)
async def get_audit(
    asked: Annotated[AuditQuery, Query()], services: Serving, caller: Reader
) -> Response:
    """List what people did, the newest first: to programs, and for `admin` all else, too."""
    if caller.label is not None:
        if asked.run_id is None:
            caller.require_unbound()
        else:
            await find_seen(services, asked.run_id, caller)
    is_admin = caller.may(Scope.ADMIN)
    wanted = AuditFilter(asked.run_id, asked.actor, asked.action, is_of_programs=not is_admin)
    found = await services.database.read(
        list_entries, wanted, limit=asked.limit + 1, before=asked.cursor
    )
    page = [shown(entry, is_admin=is_admin) for entry in found[: asked.limit]]
    next_cursor = page[-1]["id"] if len(found) > asked.limit else None
    return paged("/audit", page, next_cursor, **asked.model_dump(exclude={"cursor"}))


def shown(entry: Audited, *, is_admin: bool) -> dict[str, Any]:
    """Return an entry as the API shows it; addresses are for administrators."""
    return asdict(entry) | ({} if is_admin else {"client": None})
