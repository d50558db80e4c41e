"""Yardstick run: have the yardstick do what ours does."""

import json
import os
import subprocess
import sys
from pathlib import Path

from drains import Table, drained
from grounds import Grounds
from measuring import Figures

SCRIPT = Path(__file__).with_name("yardstick.py")
WITHIN_S = 600


async def measure(grounds: Grounds, programs: int) -> Figures:
    """Submit in batches, and drain with one worker."""
    async with grounds.place() as (database, vhost):
        variables = {"DATABASE_URL": database, "AMQP_URL": vhost}

        def run(command: str) -> Figures:
            done = subprocess.run(
                [sys.executable, str(SCRIPT), command, str(programs)],
                check=True,
                stdout=subprocess.PIPE,
                env=os.environ | variables,
                timeout=WITHIN_S,
            )
            return dict(json.loads(done.stdout))

        figures = run("submit") | run("work")
        return await drained(Table(database, "yardstick"), programs) | figures
