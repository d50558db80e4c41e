"""Keeping: what is left of a storm that broke a rule, so that it can be judged again."""

import pickle
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chaos.storm.facts import Facts

NAME = "facts.pickle"
WANTED = "wanted"


@contextmanager
def a_folder() -> Iterator[Path]:
    """Make a folder for the journal, the notes and the logs; it stays when something is wrong.

    Not pytest's, which keeps those of its last three runs, whosever they are.
    """
    folder = Path(tempfile.mkdtemp(prefix="program-executor-storm-"))
    try:
        yield folder
    except BaseException:
        print(f"kept: {folder}")
        raise
    if (folder / WANTED).exists():
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)


def want(folder: Path) -> None:
    """Have a folder stay: a rule was broken."""
    (folder / WANTED).touch()


def keep(facts: Facts, folder: Path) -> None:
    """Write the facts down."""
    (folder / NAME).write_bytes(pickle.dumps(facts))


def kept(folder: Path) -> Facts:
    """Read them again."""
    facts = pickle.loads((folder / NAME).read_bytes())
    assert isinstance(facts, Facts)
    return facts
