"""Access: what the API takes and answers of keys, sessions and the audit trail."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from program_service.api.auth import Caller, Scope
from program_service.api.responses import json_response, link_to
from program_service.api.schemas import Body, JsonObject, LabelKey, LabelValue, Moment
from program_service.bookkeeping.ledger.api_keys import ApiKey, Label

MAX_PAGE = 1_000

Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="How many a page has.")]

TABLE, SETTING = "table", "setting"
"""Where a key is: in the table, or in the setting API_KEYS."""


class LabelRequest(Body):
    """A label, in two parts."""

    key: LabelKey
    value: LabelValue


class KeyRequest(Body):
    """A key to be made."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")] = Field(
        description="Who will use it: letters, digits and underscores. Several keys may have one"
        " name: they share idempotency keys and the quota.",
        examples=["mailer"],
    )
    scopes: Annotated[list[Annotated[Scope, Field(strict=False)]], Field(min_length=1)] = Field(
        description="What it may be used for; `admin` includes all.", examples=[["submit", "read"]]
    )
    label: Annotated[str, StringConstraints(max_length=400)] | None = Field(
        None,
        description="`key=value`: it sees, steers and submits programs with this label alone.",
        examples=["tenant=acme"],
    )
    expires_at: Moment | None = Field(
        None, description="When it stops to be good, with a zone; never by default."
    )

    @property
    def label_pair(self) -> Label | None:
        """The label as a program has it."""
        if self.label is None:
            return None
        key, _, value = self.label.partition("=")
        return key, value

    @model_validator(mode="after")
    def _label_can_be_bound_to(self) -> Self:
        if self.label is None:
            return self
        key, is_pair, value = self.label.partition("=")
        if not is_pair:
            msg = f"the label {self.label!r} is not of the form key=value"
            raise ValueError(msg)
        LabelRequest(key=key, value=value)
        if Scope.ADMIN in self.scopes:
            msg = "a key with a label cannot have the scope 'admin', which is for all programs"
            raise ValueError(msg)
        return self


class KeyModel(BaseModel):
    """An API key."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="The beginning of its hash.")
    name: str = Field(description="Who uses it.")
    scopes: list[str] = Field(description="What it may be used for.")
    label: str | None = Field(description="The label, `key=value`, that it is bound to.")
    source: Literal["table", "setting"] = Field(
        description="`setting`: it is in API_KEYS, and can only be revoked there."
    )
    created_at: datetime | None = Field(description="When it was made; null for the setting's.")
    expires_at: datetime | None = Field(description="When it stops to be good; null for never.")
    last_used_at: datetime | None = Field(
        description="When it was last used, within two minutes; null for the setting's."
    )
    key: str | None = Field(None, description="The key itself, shown once, when it is made.")


class KeyListModel(BaseModel):
    """A page of keys; the Link header names the next."""

    keys: list[KeyModel] = Field(description="At most `limit`, by name.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class SessionModel(BaseModel):
    """A browser that is signed in to the dashboard."""

    id: str = Field(description="What names it; its cookie cannot be computed from it.")
    key_id: str = Field(description="The key that it was begun with.")
    key_name: str = Field(description="The name of that key.")
    created_at: datetime = Field(description="When it was begun.")
    last_seen_at: datetime = Field(description="When somebody was there, within a minute.")
    expires_at: datetime = Field(description="When it ends at the latest.")


class SessionListModel(BaseModel):
    """A page of sessions; the Link header names the next."""

    sessions: list[SessionModel] = Field(description="At most `limit`, by id.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


class AuditEntryModel(BaseModel):
    """What somebody did."""

    id: str = Field(description="Its id; later entries have greater ones.")
    at: datetime = Field(description="When.")
    actor: str = Field(description="The name of the key; `anybody` where there are no keys.")
    client: str | None = Field(description="The address it came from; null unless `admin` asks.")
    action: str = Field(description="What, as `program_resumed`; more may come.")
    run_id: str | None = Field(description="The program that it was done to.")
    target: str | None = Field(
        description="The job, worker, key or session that it was done to, or with."
    )
    reason: str | None = Field(description="Why, as it was given.")
    detail: JsonObject = Field(description="What else there is to say, as the `step` of a resume.")


class AuditListModel(BaseModel):
    """A page of the audit trail; the Link header names the next."""

    entries: list[AuditEntryModel] = Field(description="At most `limit`, the newest first.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; null at the end.")


def shown_key(key: ApiKey) -> dict[str, Any]:
    """Return a key of the table as the API shows it."""
    return {
        "id": key.id,
        "name": key.name,
        "scopes": list(key.scopes),
        "label": None if key.label is None else "=".join(key.label),
        "source": TABLE,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }


def shown_caller(caller: Caller) -> dict[str, Any]:
    """Return a key of the setting as the API shows it."""
    scopes = [scope.value for scope in Scope if scope in caller.scopes]
    return shown_key(ApiKey(caller.digest, caller.name or "", scopes)) | {"source": SETTING}


def paged(
    path: str, items: list[dict[str, Any]], next_cursor: str | None, **query: Any
) -> Response:
    """Answer a page of what is at a path, and the address of the next."""
    headers = {}
    if next_cursor is not None:
        given = {name: value for name, value in query.items() if value is not None}
        headers = link_to(path, given | {"cursor": next_cursor})
    name = "entries" if path == "/audit" else path.removeprefix("/")
    return json_response({name: items, "next_cursor": next_cursor}, headers=headers)
