"""Keys: make API keys, list and revoke them: those of a service, or with --setting of API_KEYS."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from program_executor.commands import setting_keys
from program_executor.commands.asking import AsJson, Service, chosen_service
from program_executor.commands.composing import takes
from program_executor.commands.moments import later
from program_executor.commands.printing import echo, print_json, print_json_list, print_rows
from program_executor.errors import UsageError

if TYPE_CHECKING:
    from program_executor.access_shapes import ApiKey

SCOPES = "submit+read"
COLUMNS = ("id", "name", "scopes", "label", "from", "expires", "last used")

app = typer.Typer(help="API keys.", no_args_is_help=True)

OfSetting = Annotated[
    bool,
    typer.Option("--setting", help="The keys of the setting API_KEYS; no service is asked."),
]


@app.command("new")
@takes(service=chosen_service)
def new_key(
    service: Service,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    *,
    scopes: Annotated[
        str, typer.Option(help="submit, read, operate, admin, joined with +.")
    ] = SCOPES,
    label: Annotated[
        str | None,
        typer.Option(
            help="As tenant=acme: it sees and submits programs with this label alone.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(help="As 30d, from now, or 2027-01-31T08:00Z.", show_default=False),
    ] = None,
    of_setting: OfSetting = False,
    as_json: AsJson = False,
) -> None:
    """Make an API key and show it, this once; needs a key with the scope admin.

    With --setting, print the entry for API_KEYS: so the first key of a service is made.
    """
    if not (name.isascii() and name.isidentifier()):
        message = f"{name!r}: use letters, digits and underscores"
        raise UsageError(message)
    if of_setting:
        if label or expires:
            raise UsageError("--label and --expires are for keys of a service, without --setting")
        setting_keys.new(name, scopes, as_json=as_json)
        return
    asked: Any = scopes.split("+")
    expires_at = later(expires, now=datetime.now(UTC)) if expires else None
    with service.client() as client:
        made = client.make_key(name, asked, label=label, expires_at=expires_at)
    if as_json:
        print_json(made)
    else:
        echo(f"The key, shown only now:  {made['key']}")
        echo(f"Its id, to revoke it:  {made['id']}")


@app.command("list")
@takes(service=chosen_service)
def list_keys(service: Service, *, of_setting: OfSetting = False, as_json: AsJson = False) -> None:
    """List the API keys: ids, names, scopes, labels, and when each was last used."""
    if of_setting:
        setting_keys.list_all(as_json=as_json)
        return
    with service.client() as client:
        found = list(client.api_keys())
    if as_json:
        print_json_list(found)
    else:
        print_rows(COLUMNS, map(_row, found))


def _row(key: "ApiKey") -> tuple[str, ...]:
    return (
        key["id"],
        key["name"],
        "+".join(key["scopes"]),
        key["label"] or "",
        key["source"],
        key["expires_at"] or "",
        key["last_used_at"] or "",
    )


@app.command("revoke")
@takes(service=chosen_service)
def revoke_key(
    service: Service,
    name: Annotated[str, typer.Argument(help="Its id, or its name, as `keys list` shows them.")],
    *,
    hash_: Annotated[
        str | None,
        typer.Option(
            "--hash",
            help="The beginning of its hash; without it, all keys of this name go.",
            show_default=False,
        ),
    ] = None,
    of_setting: OfSetting = False,
    write: Annotated[
        bool,
        typer.Option("--write", help="With --setting: edit the file of PROGRAM_EXECUTOR_CONFIG."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Revoke an API key, or all keys of a name; services refuse it after ten seconds at most.

    With --setting, print API_KEYS without it, or edit the file that holds it.
    """
    if of_setting:
        setting_keys.revoke(name, hash_, write=write, as_json=as_json)
        return
    if write:
        raise UsageError("--write edits the file of API_KEYS: give --setting, too")
    with service.client() as client:
        found = [key for key in client.api_keys() if _is_meant(key, name, hash_ or "")]
        if not found:
            raise UsageError(_no_such_key(name, hash_))
        for key in found:
            client.revoke_key(key["id"])
    if as_json:
        print_json({"revoked": [key["id"] for key in found]})
        return
    for key in found:
        echo(f"Revoked {key['id']} of {key['name']}.")


def _is_meant(key: "ApiKey", name: str, prefix: str) -> bool:
    # a key of the setting is named by its id alone: the service says where it is to be revoked
    is_named = name == key["id"] or (name == key["name"] and key["source"] == "table")
    return is_named and key["id"].startswith(prefix.lower()[: len(key["id"])])


def _no_such_key(name: str, hash_: str | None) -> str:
    whose = f"{name!r}" + (f" whose hash begins with {hash_!r}" if hash_ else "")
    return (
        f"the service has no key of {whose} (see `program-executor keys list`); one of the setting"
        " API_KEYS is revoked with --setting"
    )
