"""Keeping: write the facts of a storm to a file, so that it can be judged again."""

import pickle
from pathlib import Path

from chaos.storm.facts import Facts

NAME = "facts.pickle"


def keep(facts: Facts, folder: Path) -> Path:
    """Write them down, and return the file."""
    file = folder / NAME
    file.write_bytes(pickle.dumps(facts))
    return file


def kept(file: Path) -> Facts:
    """Read them again."""
    facts = pickle.loads(file.read_bytes())
    assert isinstance(facts, Facts)
    return facts
