"""Jobs of a module that takes the whole process for its own, in every way that is known."""

import asyncio
import gc
import logging
import logging.config
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from pathlib import Path

import structlog

from program_executor import JobContext, ThreadJobContext, job

early = logging.getLogger("hostile.early")


async def set_up() -> None:
    """Run before there are any jobs."""
    await asyncio.sleep(0)


asyncio.run(set_up())
asyncio.set_event_loop_policy(None)
asyncio.set_event_loop(asyncio.new_event_loop())
logging.config.dictConfig({"version": 1, "root": {"level": "CRITICAL", "handlers": []}})
logging.disable(logging.CRITICAL)
structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
warnings.simplefilter("error")
socket.setdefaulttimeout(0.01)
Path("elsewhere").mkdir(exist_ok=True)
os.chdir("elsewhere")
os.environ["TZ"] = "Pacific/Kiritimati"
time.tzset()
gc.disable()
sys.setrecursionlimit(120)
sys.setswitchinterval(1.0)
sys.excepthook = lambda *_error: None
threading.excepthook = lambda _error: None
random.seed(1)
sys.stdin.close()
sys.stderr.close()


@job
async def speak(ctx: JobContext) -> dict[str, str]:
    """Log by a logger that dictConfig has disabled."""
    early.warning("hear %s", ctx.job)
    return {"folder": Path.cwd().name}


@job
def fork(_ctx: ThreadJobContext) -> dict[str, int | None]:
    """Stop a process that was forked, which has the worker's signal handlers."""
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    process.start()
    process.terminate()
    process.join()
    return {"exit_code": process.exitcode}


@job
async def ignore(_ctx: JobContext) -> None:
    """Change the process while the worker works."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, int)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(force=True, level="CRITICAL")
