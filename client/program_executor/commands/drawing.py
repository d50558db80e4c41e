"""Drawing: a program on a terminal, step by step, as it stands at a moment."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from program_executor.commands.estimating import seconds_left
from program_executor.commands.moments import duration, parsed, seconds_between
from program_executor.commands.printing import COLOURS, current_error, try_s
from program_executor.shapes import FINAL

if TYPE_CHECKING:
    from program_executor.shapes import Attempt, Program, Status

MARKS = {
    "finished": "✓",
    "errored": "✗",
    "cancelled": "⊘",
    "retrying": "↻",
    "waiting": "…",
    "scheduled": "◷",
    "pending": "·",
}
ASCII_MARKS = {
    "finished": "+",
    "errored": "x",
    "cancelled": "-",
    "retrying": "~",
    "waiting": ".",
    "scheduled": "@",
    "pending": " ",
}
TURNS, ASCII_TURNS = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
TURNS_A_SECOND = 8

LEAST_S = 0.1
"""Less is not worth an estimate."""

ERROR_LINES = 3
AROUND_THE_STEPS = 4 + ERROR_LINES
"""Lines that are not steps: the head, what was left out, the error, and one for the cursor."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A program, what is known of its tries, and how long its jobs take usually."""

    program: "Program"
    attempts: "Sequence[Attempt]"
    usual: Mapping[str, float]
    since: datetime
    """When it came to stand where it stands: its current try began, for one."""


def draw(picture: Picture, *, now: datetime, height: int, is_ascii: bool) -> Group:
    """Draw a picture that fits this height."""
    program = picture.program
    total = len(program["jobs"])
    shown = window(total, program["step"], max(1, height - AROUND_THE_STEPS))
    width = max(len(program["jobs"][step]) for step in shown)
    lines = [_head(picture, now)]
    if shown.start > 0:
        lines.append(Text(f"   {shown.start} before", style="dim"))
    lines.extend(_step(picture, step, now=now, width=width, is_ascii=is_ascii) for step in shown)
    if shown.stop < total:
        lines.append(Text(f"   {total - shown.stop} more", style="dim"))
    return Group(*lines, *_error(program))


def window(total: int, current: int, room: int) -> range:
    """Return which of the steps are shown, with the current one in their middle if need be."""
    start = max(0, min(current - room // 2, total - room))
    return range(start, min(total, start + room))


def _head(picture: Picture, now: datetime) -> Text:
    program = picture.program
    status, done = program["status"], program["progress"]
    ended = program["finished_at"] or program["errored_at"]
    until = parsed(ended) if ended and status in FINAL else now
    text = Text.assemble(
        (program["run_id"], "bold"),
        "  ",
        (status, COLOURS.get(status, "")),
        f"  {done['done']}/{done['total']}",
        f"  {duration(seconds_between(program['created_at'], until))}",
        no_wrap=True,
        overflow="ellipsis",
    )
    running_s = max(0.0, (now - picture.since).total_seconds())
    left_s = seconds_left(program, picture.usual, running_s=running_s)
    if left_s is not None:
        is_over = left_s < LEAST_S
        text.append("  longer than usual" if is_over else f"  about {duration(left_s)} left", "dim")
    return text


def _step(picture: Picture, step: int, *, now: datetime, width: int, is_ascii: bool) -> Text:
    status = step_status(picture.program, step)
    if status == "running":
        turns = ASCII_TURNS if is_ascii else TURNS
        mark = turns[int(now.timestamp() * TURNS_A_SECOND) % len(turns)]
    else:
        mark = (ASCII_MARKS if is_ascii else MARKS)[status]
    style = COLOURS.get(status, "dim")
    return Text.assemble(
        (f" {mark} ", style),
        (picture.program["jobs"][step].ljust(width), "" if status != "pending" else "dim"),
        "  ",
        ("  ".join(_notes(picture, step, status, now)), "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def step_status(program: "Program", step: int) -> "Status":
    """Return what a step is: the current one is what the program is, others are done or to come."""
    if step < program["progress"]["done"]:
        return "finished"
    return program["status"] if step == program["step"] else "pending"


def _notes(picture: Picture, step: int, status: str, now: datetime) -> Iterator[str]:
    program = picture.program
    tries = [each for each in picture.attempts if each["step"] == step]
    is_current = step == program["step"] and status not in FINAL
    took_s = sum(map(try_s, tries))
    if status == "running":
        took_s = max(0.0, (now - picture.since).total_seconds())
    if tries or status == "running":
        yield duration(took_s).rjust(8)
    number = 1 + program["step_retry_count"] + program["lease_losses"]
    if is_current and number > 1:
        yield f"try {number}"
    elif len(tries) > 1:
        yield f"{len(tries)} tries"
    if status == "running" and program["claimed_by"]:
        yield f"on {program['claimed_by']}"
    if status in {"retrying", "scheduled"} and program["due_at"]:
        yield f"in {duration(max(0.0, (parsed(program['due_at']) - now).total_seconds()))}"
    if status == "waiting":
        yield "to be completed from outside"


def _error(program: "Program") -> list[Text]:
    """Return the first lines of the last error, while it matters."""
    lines = current_error(program).strip().splitlines()[:ERROR_LINES]
    return [Text(f"   {line}", style="red", no_wrap=True, overflow="ellipsis") for line in lines]
