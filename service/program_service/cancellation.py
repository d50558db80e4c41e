"""Cancellation: tell a task that was asked to end from one that met somebody else's cancellation.

A driver may raise `CancelledError` although nobody cancelled the task that awaits it: aiormq does
so for every pending call when its connection is abandoned. A task group treats a child that ended
with it as one that ended normally.
"""

import asyncio


def is_being_cancelled() -> bool:
    """Whether somebody asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
