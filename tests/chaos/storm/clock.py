"""Clock: what one process takes for the time of day; its monotonic clock is everybody's."""

from pathlib import Path

STEPPED = Path(__file__).with_name("stepped")


def put(file: Path, value: float) -> None:
    """Replace what a file says at once: no reader sees half of it."""
    whole = file.with_suffix(".new")
    whole.write_text(f"{value}\n")
    whole.rename(file)


class Clock:
    """The wall clock of one process, said in a file; `stepped/sitecustomize.py` reads it."""

    def __init__(self, file: Path) -> None:
        """Begin with the right time."""
        self._file = file
        self.step(0)

    def step(self, by_s: float) -> None:
        """Be so far off the right time from now on."""
        put(self._file, by_s)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to live by it, besides `STEPPED` on its path."""
        return {"STORM_CLOCK": str(self._file)}
