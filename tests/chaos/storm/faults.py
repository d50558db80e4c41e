"""Faults: do what the schedule says, and remember what it met."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from chaos.storm import faults_foreign as foreign
from chaos.storm import faults_hosts as hosts
from chaos.storm import faults_servers as servers
from chaos.storm.facts import Struck
from chaos.storm.met import Met
from chaos.storm.scene import Scene
from chaos.storm.schedule import Kind, Planned

FAULTS: dict[Kind, Callable[[Scene, Planned], Awaitable[Met]]] = {
    Kind.KILL_WORKER: hosts.kill_worker,
    Kind.FREEZE_WORKER: hosts.freeze_worker,
    Kind.KILL_SERVICE: hosts.kill_service,
    Kind.FREEZE_SERVICE: hosts.freeze_service,
    Kind.RESTART_BROKER: servers.restart_broker,
    Kind.PURGE_QUEUES: servers.purge_queues,
    Kind.DELETE_QUEUES: servers.delete_queues,
    Kind.WIPE_BROKER: servers.wipe_broker,
    Kind.KILL_DATABASE: servers.kill_database,
    Kind.END_SESSIONS: servers.end_sessions,
    Kind.HIDE_DATABASE: hosts.hide_database,
    Kind.HIDE_BROKER: hosts.hide_broker,
    Kind.LOSE_COMMITS: hosts.lose_commits,
    Kind.STEP_CLOCK: hosts.step_clock,
    Kind.STRAY_CANCELS: foreign.stray_cancels,
    Kind.POISON_ROWS: foreign.poison_rows,
    Kind.POISON_HEADERS: foreign.poison_headers,
    Kind.POISON_MESSAGES: foreign.poison_messages,
    Kind.LOCK_ROWS: foreign.lock_rows,
    Kind.LIMIT_CONNECTIONS: foreign.limit_connections,
    Kind.ASK_WHILE_SILENT: foreign.ask_while_silent,
}


@dataclass(slots=True)
class Storm:
    """Strikes a scene, and remembers what it struck."""

    scene: Scene
    struck: list[Struck] = field(default_factory=list)

    @property
    def missed(self) -> list[Kind]:
        """The kinds of faults that came, and of which none met anything yet."""
        return without_effect(self.struck)

    async def strike(self, planned: Planned) -> None:
        """Do one fault, to its end."""
        since = time.monotonic()
        met = await FAULTS[planned.kind](self.scene, planned)
        workers = frozenset(name for name in met.names if name.startswith("worker"))
        programs = frozenset(met.programs)
        until = time.monotonic()
        struck = Struck(str(planned.kind), workers, since, until, met.effect, programs)
        self.struck.append(struck)


def without_effect(struck: Iterable[Struck]) -> list[Kind]:
    """Return the kinds of faults that came, and of which none met anything."""
    met: Counter[str] = Counter()
    came = set()
    for each in struck:
        came.add(each.kind)
        met[each.kind] += each.effect
    return [kind for kind in Kind if kind in came and not met[kind]]
