"""Report: a storm in one table."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from chaos.storm.check_journal import Turns
from chaos.storm.facts import MACHINE, Facts, Row
from chaos.storm.rules import Broken, Rule
from chaos.storm.schedule import Kind

SHOWN = 20

EFFECTS = {
    Kind.KILL_WORKER: "running steps hit",
    Kind.FREEZE_WORKER: "running steps hit",
    Kind.PURGE_QUEUES: "messages removed",
    Kind.DELETE_QUEUES: "consumers bereft",
    Kind.END_SESSIONS: "sessions ended",
    Kind.LOSE_COMMITS: "answers lost",
    Kind.STEP_CLOCK: "steps that saw it",
    Kind.STRAY_CANCELS: "calls rejected",
    Kind.POISON_ROWS: "programs poisoned",
    Kind.POISON_HEADERS: "responses sent",
    Kind.POISON_MESSAGES: "messages sent",
    Kind.LOCK_ROWS: "running programs locked",
    Kind.ASK_WHILE_SILENT: "requests answered",
}
"""What is counted of a kind; of the others, connections cut or stalled."""


def report(facts: Facts, broken: Sequence[Broken]) -> str:
    """Say what happened, and what of it was not permitted."""
    lines = [*_programs(facts), *_steps(facts), *_faults(facts), *_rules(broken)]
    return "\n".join(lines)


def _programs(facts: Facts) -> list[str]:
    accepted = {note.run_id for note in facts.noted("accepted") if note.is_yes}
    ends = Counter(
        "finished"
        if row["finished_at"]
        else "cancelled"
        if row["cancelled_at"]
        else "worker_lost"
        if row["errored_at"]
        else "not ended"
        for row in facts.of_others().rows.values()
    )
    poison = [row for run_id, row in facts.rows.items() if run_id in facts.poison]
    resumes = sum(row["resumes"] for row in facts.rows.values())
    return [
        _line("programs accepted", len(accepted)),
        _line("stored, never answered", len(facts.rows.keys() - accepted)),
        *[_line(f"ended {end}", count) for end, count in sorted(ends.items())],
        _line("made to fail, and ended", sum(_has_ended(row) for row in poison)),
        _line("resumes", resumes),
    ]


def _has_ended(row: Row) -> bool:
    return bool(row["errored_at"] or row["finished_at"])


def _steps(facts: Facts) -> list[str]:
    turns = Turns(facts.of_others())
    reasons = turns.reasons()
    return [
        _line("steps begun", len(turns.begins)),
        *[_line(f"begun again, by {why}", count) for why, count in sorted(reasons.items())],
        _line("running steps hit by faults", running_steps_hit(facts)),
        _line("overlaps, lease lost", len(turns.overlaps())),
        _line("first lines of sleepers", len(turns.sleepers)),
        _line("longest stall", f"{longest_stall_s(facts):.1f} s"),
        _line("machine stood still", sum(s.kind == MACHINE for s in facts.struck)),
    ]


def running_steps_hit(facts: Facts) -> int:
    """Count the steps that were running, or begun, while a fault was at work on their worker."""
    open_since: dict[tuple[str, int, int, str], float] = {}
    runs = []
    for entry in facts.entries:
        key = (entry.run_id, entry.step, entry.attempt, entry.worker)
        if entry.what == "begin":
            open_since[key] = entry.at
        elif key in open_since:
            runs.append((entry.worker, open_since.pop(key), entry.at))
    runs += [(key[-1], since, float("inf")) for key, since in open_since.items()]
    return sum(
        any(struck.reaches(worker, since, until) for struck in facts.struck)
        for worker, since, until in runs
    )


def longest_stall_s(facts: Facts) -> float:
    """Return the longest time without a line in the journal."""
    moments = [entry.at for entry in facts.entries if entry.run_id]
    return max((after - before for before, after in pairwise(moments)), default=0.0)


def _faults(facts: Facts) -> list[str]:
    effects: defaultdict[str, list[int]] = defaultdict(list)
    longest_s: defaultdict[str, float] = defaultdict(float)
    for struck in facts.struck:
        effects[struck.kind].append(struck.effect)
        longest_s[struck.kind] = max(longest_s[struck.kind], struck.until - struck.since)
    return [
        _line(
            kind,
            f"{len(effects[kind]):3}, {sum(map(bool, effects[kind])):3} with effect:"
            f" {sum(effects[kind])} {EFFECTS.get(kind, 'connections')},"
            f" longest {longest_s[kind]:.1f} s",
        )
        for kind in Kind
        if effects[kind]
    ]


def _rules(broken: Sequence[Broken]) -> list[str]:
    counts = Counter(each.rule for each in broken)
    details = [f"  {each}" for each in broken[:SHOWN]]
    more = [f"  and {len(broken) - SHOWN} more"] if len(broken) > SHOWN else []
    return [*[_line(rule, counts[rule]) for rule in Rule], *details, *more]


def _line(what: str, value: object) -> str:
    return f"{what:<46}{value!s:>8}"
