"""Walking: type a page from its first command to its last, as one does who knows nothing else.

What a reader does, and so the walk:

- types each block of commands, and nothing else, in a terminal that was opened in an empty home;
- looks whether a server that was put into the background is up, when the block is typed;
- leaves a server that goes on where it is, and types on in a second terminal, opened in the same
  folder, where nothing is exported or activated that the page does not say again;
- presses Ctrl-C where the command says "until Ctrl-C", once it is up, or where the text says "Stop
  it with Ctrl-C", and goes on in that first terminal;
- writes the file when the text says "Write `name`:" before a block;
- puts in addresses of servers of their own for those of the page, see `Walk.filled_in`;
- looks whether what the page shows is what they see: ids, times and "…" may differ;
- expects each command to succeed, unless it says "exit code 1".
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from doc_pages import Piece, commands, file_of, pieces
from terminals import LOOK_EVERY_S, Room, Server, Shown, Terminal

SERVER = re.compile(r"(?:\w+=\S+ )*(?:program-executor (dev|serve|work)|make run|.*\bserve\.js)\b")
IS_UP = "Serving until Ctrl-C."
PROBES = {
    "dev": "http://127.0.0.1:8080/readyz",
    "serve": "http://127.0.0.1:8080/readyz",
    "work": "http://127.0.0.1:8081/readyz",
}
UNTIL_CTRL_C = "until Ctrl-C"
STOP = "Stop it with Ctrl-C"
CODE = re.compile(r"exit code (\d+)")

MASKS = [
    (r"\x1b\[[\d;]*m", ""),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)", "TIME"),
    (r"\b\d+(?:\.\d+)? ?(?:ms|s|min|h)\b", "DURATION"),
    (r"pe_(\w+?)_[\w-]{43}", r"pe_\1_KEY"),
    (r"\b[0-9a-f]{64}\b", "HASH"),
    (r'(etag: "\d+-)[0-9a-f]{8}', r"\1HASH"),
    (r"\s+", ""),
]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a page is walked, where it needs more than to be typed."""

    page: str
    given: tuple[str, ...] = ()
    """What the page takes for granted, typed before it, such as a service that runs."""
    not_typed: dict[str, str] = field(default_factory=dict)
    """{beginning of a block: why it is not typed}."""
    stand_ins: dict[str, str] = field(default_factory=dict)
    """{command: what is typed instead, as the command would take too long}."""
    not_compared: dict[str, str] = field(default_factory=dict)
    """{beginning of a block: why what the page shows after it is not what comes}."""


@dataclass(slots=True)
class Walk:
    """A walk through a page; `filled_in` are {what the page says: the reader's own}."""

    plan: Plan
    room: Room
    folder: Path
    filled_in: dict[str, str] = field(default_factory=dict)
    _terminals: list[Terminal] = field(default_factory=list)
    _starting: list[str] = field(default_factory=list)
    """Probes of servers in the background; nobody looks at them within a block."""

    def take(self) -> None:
        """Go from the first command to the last.

        Raises:
            AssertionError: something is not as the page says; it names the line.
        """
        try:
            for command in self.plan.given:
                self._type(command)
            self._go()
        finally:
            for terminal in self._terminals:
                terminal.close()

    def _go(self) -> None:
        before: Piece | None = None
        seen = ""
        for piece in pieces(self.plan.page):
            if piece.language == "sh":
                seen = self._type_block(piece)
            elif file := file_of(before, piece):
                (self._terminal.current_folder / file.name).write_text(file.text)
            elif piece.language in {"output", "json"}:
                _compare(piece, seen)
                seen = ""
            elif STOP in piece.text:
                self._stop()
            if piece.text.strip():
                before = piece

    def _type_block(self, block: Piece) -> str:
        """Type a block; return what is seen, "" if it is not to be compared."""
        if _known(block, self.plan.not_typed):
            return ""
        seen = ""
        try:
            for command in commands(block.text):
                seen += self._type(command).text
            self._await_probes()
        except AssertionError as error:
            msg = f"{block}: {error}\n{self._logs()}"
            raise AssertionError(msg) from error
        return "" if _known(block, self.plan.not_compared) else seen

    def _type(self, command: str) -> Shown:
        plain, _, comment = command.partition(" #")
        command = self.plan.stand_ins.get(plain.strip(), command)
        for said, own in self.filled_in.items():
            command = command.replace(said, own)
        server = SERVER.match(command)
        if server and not plain.rstrip().endswith("&"):
            return self._serve(command, server[1], is_left=UNTIL_CTRL_C not in comment)
        shown = self._terminal.type(command)
        expected = CODE.search(comment)
        assert shown.code == (int(expected[1]) if expected else 0), f"{command}\n{shown.text}"
        if server and server[1] in PROBES:
            self._starting.append(PROBES[server[1]])
        return shown

    def _serve(self, command: str, kind: str | None, *, is_left: bool) -> Shown:
        terminal = self._terminal
        server = terminal.serve(command)
        if kind in {"serve", "work"}:
            self._await_probe(PROBES[kind])
        else:
            self._await_line(server)
        self._await_probes()
        shown = Shown(0, server.log.read_text(errors="replace"))
        if is_left:
            self._terminals.append(Terminal(self.room, terminal.current_folder))
        else:
            terminal.stop()
        return shown

    def _await_probes(self) -> None:
        while self._starting:
            self._await_probe(self._starting.pop())

    def _await_probe(self, url: str) -> None:
        """Wait as one does who looks now and then."""
        watch = Terminal(self.room, self.folder)
        try:
            watch.type(f"until curl -sf -o /dev/null {url}; do sleep 0.1; done")
        finally:
            watch.close()

    def _await_line(self, server: Server) -> None:
        deadline = time.monotonic() + self.room.patience_s
        while IS_UP not in (text := server.log.read_text(errors="replace")):
            assert time.monotonic() < deadline, f"it is not up:\n{text}"
            assert server.is_there, f"it has ended:\n{text}"
            time.sleep(LOOK_EVERY_S)

    def _stop(self) -> None:
        """Press Ctrl-C in all terminals, and go on in the first."""
        for terminal in self._terminals:
            terminal.stop()
        for terminal in self._terminals[1:]:
            terminal.close()
        del self._terminals[1:]

    @property
    def _terminal(self) -> Terminal:
        if not self._terminals:
            self._terminals.append(Terminal(self.room, self.folder))
        return self._terminals[-1]

    def _logs(self) -> str:
        """Return the ends of what the servers wrote."""
        servers = (server for terminal in self._terminals for server in terminal.servers)
        return "\n".join(
            f"{each.command}:\n{each.log.read_text(errors='replace')[-3000:]}" for each in servers
        )


def _known(block: Piece, beginnings: dict[str, str]) -> bool:
    return any(block.text.startswith(each) for each in beginnings)


def _compare(shown: Piece, seen: str) -> None:
    """Find each line that the page shows, in order, in what was seen."""
    if not seen:
        return
    rest = masked(seen)
    for part in parts(shown.text):
        assert part in rest, f"{shown}: the page shows {part!r}, and not seen in:\n{seen}"
        rest = rest.partition(part)[2]


def parts(text: str) -> Iterator[str]:
    """Return what must be seen, piece by piece, without white space."""
    for line in text.splitlines():
        yield from filter(None, (masked(part).strip(",") for part in line.split("…")))


def masked(text: str) -> str:
    """Put words for what is different each time."""
    for pattern, word in MASKS:
        text = re.sub(pattern, word, text)
    return text
