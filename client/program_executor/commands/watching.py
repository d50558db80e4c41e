"""Watching: a program's changes, drawn, in lines or as JSON, until it has ended."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from program_executor.commands.asking import MANY_TRIES, AsJson, Service, chosen_service
from program_executor.commands.completing import RunId
from program_executor.commands.composing import takes
from program_executor.commands.printing import echo, print_json_line, program_line, terminal
from program_executor.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from program_executor.client import Client
    from program_executor.commands.drawing import Picture
    from program_executor.shapes import Attempt, Program

A_SECOND = "%Y-%m-%dT%H:%M:%SZ"


@takes(service=chosen_service)
def watch(
    service: Service,
    run_id: RunId,
    *,
    as_json: AsJson = False,
) -> None:
    """Follow a program until it has ended; the exit code is 0 only if it finishes.

    On a terminal its steps are drawn, with times and an estimate where similar programs are known.
    In a pipe each change is a line, with --json a JSON object.
    """
    with service.client() as client:
        client.get(run_id)  # what is not there at all is told soon
    with service.client(tries=MANY_TRIES) as client:
        require_finished(_watched(client, run_id, as_json=as_json))


def require_finished(program: "Program") -> None:
    """End with the exit code of a program that did not finish, if it did not."""
    if program["status"] != "finished":
        raise typer.Exit(ExitCode.NOT_FINISHED)


def _watched(client: "Client", run_id: str, *, as_json: bool) -> "Program":
    """Show a program's changes until it has ended, and return it."""
    console = None if as_json else terminal()
    if console is not None:
        return _draw(client, run_id, console)
    changes = client.follow(run_id)
    return _print_objects(changes) if as_json else _print_lines(changes)


def _print_objects(changes: "Iterator[Program]") -> "Program":
    for program in changes:
        print_json_line(program)
    return program


def _print_lines(changes: "Iterator[Program]") -> "Program":
    said = ""
    for program in changes:
        line = program_line(program)
        if line != said:
            at = datetime.fromisoformat(program["updated_at"]).strftime(A_SECOND)
            echo(f"{at}  {line}")
        said = line
    return program


def _draw(client: "Client", run_id: str, console: "Console") -> "Program":
    from rich.live import Live

    from program_executor.commands.estimating import newest_attempts, past_attempts

    canvas, past = Canvas(console), None
    with Live(canvas, console=console, refresh_per_second=8):
        for program in client.follow(run_id):
            if past is None:
                past = past_attempts(client, program)
            canvas.show(program, newest_attempts(client, run_id), past)
    if program["status"] != "finished":
        console.print(f"program-executor show {run_id} tells more.", style="dim")
    return program


class Canvas:
    """What the terminal shows; it is drawn again several times a second, in another thread."""

    def __init__(self, console: "Console") -> None:
        """Begin with nothing."""
        self._console = console
        self._picture: Picture | None = None

    def show(
        self, program: "Program", attempts: "list[Attempt]", past: "list[Sequence[Attempt]]"
    ) -> None:
        """Show a program from now on."""
        from program_executor.commands.drawing import Picture
        from program_executor.commands.estimating import usual_times

        before = self._picture
        stands_still = before is not None and _stand(before.program) == _stand(program)
        since = before.since if before and stands_still else _moment(program["updated_at"])
        self._picture = Picture(program, attempts, usual_times([*past, attempts]), since)

    def __rich__(self) -> Any:
        """Draw it as it stands now."""
        from program_executor.commands.drawing import draw

        if self._picture is None:
            return ""
        return draw(
            self._picture,
            now=datetime.now(UTC),
            height=self._console.height,
            is_ascii=self._console.options.ascii_only,
        )


def _stand(program: "Program") -> tuple[Any, ...]:
    """Return what is different once another try has begun; job data may change in between."""
    names = ("status", "step", "step_retry_count", "lease_losses", "resumes", "claimed_by")
    return tuple(program[name] for name in names)  # type: ignore[literal-required]


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
