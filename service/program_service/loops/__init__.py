"""Loops: everything that runs in the background, under one supervisor.

supervisor   starts loops, restarts those that fail, and reports on them to the probes
turns        what a loop does again and again, each turn bounded in time
purger       deletes what ended long ago

The other loops are in the packages whose work they do: relay, sweeper and submissions in `wakeups`,
the notifier in `webhooks`, the loops of a worker in `program_workers`.
"""
