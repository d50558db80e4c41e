"""Clock: what one process takes for the time of day; its monotonic clock is everybody's."""

from pathlib import Path

STEPPED = Path(__file__).with_name("stepped")


class Clock:
    """The wall clock of one process, said in a file; `stepped/sitecustomize.py` reads it."""

    def __init__(self, file: Path) -> None:
        """Begin with the right time."""
        self._file = file
        self.step(0)

    def step(self, by_s: float) -> None:
        """Be so far off the right time from now on."""
        whole = self._file.with_suffix(".new")
        whole.write_text(f"{by_s}\n")
        whole.rename(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to live by it, besides `STEPPED` on its path."""
        return {"STORM_CLOCK": str(self._file)}
