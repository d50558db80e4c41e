"""Bundles: two programs in one queue, wake-ups that name both, hand-backs, and waking again.

Rows are simpler here than in `protocol`; the queue is not: it keeps its order, and each wake-up
says when it was published (rules R5, R6 and R13). Moments are ranks: only their order counts.
"""

from collections.abc import Iterator
from typing import NamedTuple

from model.search import Model, Move

NAMES = ("P", "Q")
OTHERS = "others"
"""Stands for programs of other people, whose wake-ups keep the queue from ever being empty."""

MOST_MESSAGES = 3
MOST_READINGS = 2
MAX_HOPS = 1
NEVER = 0


class World(NamedTuple):
    """The rules that can be taken away, who knows which job, and how busy the queue is."""

    wakes_again: bool = True
    wakes_by_order: bool = True
    marks_when_confirmed: bool = True
    hands_back: bool = True
    slots: int = 1
    known: tuple[tuple[str, ...], ...] = (NAMES, NAMES)
    is_busy: bool = False
    is_orderly: bool = False
    """Nothing is lost or handed back, so nothing that waits may be taken for lost."""
    losses: int = 0
    crashes: int = 0


class Program(NamedTuple):
    """A row: due, or held by a worker, or ended; and when somebody was last woken for it."""

    stage: str = "due"
    woken: int = NEVER


class Message(NamedTuple):
    """A wake-up."""

    names: tuple[str, ...]
    published: int
    hops: int = 0


class Reading(NamedTuple):
    """What a publisher read, and which of it still has the `due_at` that it read."""

    names: tuple[str, ...]
    unchanged: tuple[str, ...]
    read: int
    is_published: bool = False


class State(NamedTuple):
    """Everything; `newest` is the latest publishing time of what a worker has claimed."""

    losses: int
    crashes: int
    programs: tuple[Program, ...] = (Program(),) * len(NAMES)
    queue: tuple[Message, ...] = ()
    readings: tuple[Reading, ...] = ()
    newest: int = NEVER

    @property
    def now(self) -> int:
        """A moment after all others."""
        return 1 + max(NEVER, *_moments(self))

    def of(self, name: str) -> Program:
        """Return a program."""
        return self.programs[NAMES.index(name)]

    def set(self, name: str, program: Program) -> "State":
        """Replace a program; whoever read its `due_at` before must not mark it."""
        at = NAMES.index(name)
        programs = (*self.programs[:at], program, *self.programs[at + 1 :])
        if program.stage == self.of(name).stage:
            return self._replace(programs=programs)
        readings = tuple(
            each._replace(unchanged=tuple(other for other in each.unchanged if other != name))
            for each in self.readings
        )
        return self._replace(programs=programs, readings=readings)


def _moments(state: State) -> list[int]:
    return [
        state.newest,
        *(each.woken for each in state.programs),
        *(each.published for each in state.queue),
        *(each.read for each in state.readings),
    ]


def _ranked(state: State) -> State:
    """Replace moments by their ranks, so that there are finitely many states."""
    ranks = {moment: rank for rank, moment in enumerate(sorted({NEVER, *_moments(state)}))}
    return state._replace(
        newest=ranks[state.newest],
        programs=tuple(each._replace(woken=ranks[each.woken]) for each in state.programs),
        queue=tuple(each._replace(published=ranks[each.published]) for each in state.queue),
        readings=tuple(sorted(each._replace(read=ranks[each.read]) for each in state.readings)),
    )


def read(state: State, world: World) -> Iterator[Move[State]]:
    """Let a publisher bundle what is due and unwoken, or one whose wake-up may be lost."""
    if len(state.readings) == MOST_READINGS:
        return
    fresh = tuple(
        name for name in NAMES if state.of(name).stage == "due" and not state.of(name).woken
    )
    bundles = {fresh, *((name,) for name in fresh)} - {()}
    for names in sorted(bundles):
        reading = Reading(names, names, state.now)
        after = state._replace(readings=(*state.readings, reading))
        yield Move(f"a publisher reads {', '.join(names)}", after)
    for name in NAMES:
        if _may_be_lost(state, name, world):
            reading = Reading((name,), (name,), state.now)
            is_waiting = any(name in message.names for message in state.queue)
            is_needless = is_waiting and world.is_orderly
            broken = "rule R6: a long queue made a duplicate" if is_needless else ""
            after = state._replace(readings=(*state.readings, reading))
            yield Move(f"the sweeper suspects that {name}'s wake-up is lost", after, broken=broken)


def _may_be_lost(state: State, name: str, world: World) -> bool:
    program = state.of(name)
    if program.stage != "due" or not program.woken or not world.wakes_again:
        return False
    return not state.queue or (world.wakes_by_order and program.woken < state.newest)


def publish(state: State, world: World) -> Iterator[Move[State]]:
    """Let the broker confirm a wake-up, and its publisher mark the rows after that."""
    for reading in state.readings:
        at = state.readings.index(reading)
        rest = state._replace(readings=state.readings[:at] + state.readings[at + 1 :])
        names = ", ".join(reading.names)
        if not reading.is_published:
            if len(state.queue) < MOST_MESSAGES:
                sent = reading._replace(is_published=True)
                queue = (*state.queue, Message(reading.names, reading.read))
                after = rest._replace(queue=queue, readings=(*rest.readings, sent))
                yield Move(f"a wake-up for {names} is published", after)
        else:
            moment = state.now if world.marks_when_confirmed else reading.read
            for name in reading.unchanged:
                rest = rest.set(name, rest.of(name)._replace(woken=moment))
            yield Move(f"its publisher marks {', '.join(reading.unchanged) or 'nothing'}", rest)


def take(state: State, world: World) -> Iterator[Move[State]]:
    """Let a worker with a free slot take the first wake-up and claim what it can."""
    if not state.queue:
        return
    message, *queue = state.queue
    if state.losses:
        lost = state._replace(losses=state.losses - 1, queue=tuple(queue))
        if message.names != (OTHERS,):
            yield Move("a wake-up is lost", lost, is_fault=True)
    for worker, known in enumerate(world.known):
        free = world.slots - sum(each.stage == f"held by {worker}" for each in state.programs)
        if free:
            yield _taken(state._replace(queue=tuple(queue)), message, worker, (known, free, world))


def _taken(
    state: State, message: Message, worker: int, terms: tuple[tuple[str, ...], int, World]
) -> Move[State]:
    known, free, world = terms
    if message.names == (OTHERS,):
        queue = (*state.queue, Message((OTHERS,), state.now))
        after = state._replace(newest=max(state.newest, message.published), queue=queue)
        return Move(f"worker {worker} takes another wake-up, and one more comes", after)
    due = [name for name in message.names if state.of(name).stage == "due"]
    mine = [name for name in due if name in known][:free]
    rest = tuple(name for name in due if name not in mine)
    for name in mine:
        state = state.set(name, Program(f"held by {worker}"))
    hops = 0 if mine else message.hops + 1
    name = f"worker {worker} claims {', '.join(mine) or 'nothing'}"
    if rest and world.hands_back and hops <= MAX_HOPS:
        name += f" and hands {', '.join(rest)} back"
        state = state._replace(queue=(*state.queue, message._replace(names=rest, hops=hops)))
    newest = max(state.newest, message.published)
    return Move(name, state._replace(newest=newest))


def give_back(state: State, world: World) -> Iterator[Move[State]]:
    """Let a worker that has been full for long give back what it received."""
    for worker in () if world.is_orderly else range(len(world.known)):
        busy = sum(each.stage == f"held by {worker}" for each in state.programs)
        if busy == world.slots and len(state.queue) > 1:
            message, *queue = state.queue
            after = state._replace(queue=(*queue, message))
            yield Move(f"worker {worker}, which is full, gives a wake-up back", after)


def end(state: State, world: World) -> Iterator[Move[State]]:
    """Let a program end, or its worker die; then its lease lapses."""
    del world
    for name in NAMES:
        stage = state.of(name).stage
        if stage.startswith("held"):
            yield Move(f"{name} ends", state.set(name, Program("ended")))
            if state.crashes:
                died = state._replace(crashes=state.crashes - 1)
                after = died.set(name, Program())
                yield Move(f"the worker of {name} dies", after, is_fault=True)


def bundles(world: World) -> Model[State]:
    """Make the model."""

    def moves(state: State) -> Iterator[Move[State]]:
        for action in (read, publish, take, give_back, end):
            for move in action(state, world):
                yield move._replace(state=_ranked(move.state))

    queue = (Message((OTHERS,), 1),) if world.is_busy else ()
    return Model(
        State(world.losses, world.crashes, queue=queue),
        moves,
        has_ended=lambda state: all(each.stage == "ended" for each in state.programs),
    )
