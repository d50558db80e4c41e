"""Ends: every accepted program ended, as its client was promised."""

from collections import Counter
from collections.abc import Iterator

from chaos.storm.facts import Facts, Row
from chaos.storm.rules import Broken, Rule

MAX_LOSSES = 3


def lost(facts: Facts) -> Iterator[Broken]:
    """Find programs that a client was told are stored, and are not."""
    for note in facts.noted("accepted"):
        if note.is_yes and note.run_id not in facts.rows:
            yield Broken(Rule.LOST, note.run_id, f"the client calls it {note.key}")


def submitted_twice(facts: Facts) -> Iterator[Broken]:
    """Find requests that were sent again under the same key, and became two programs."""
    keys = Counter(row["program_data"]["key"] for row in facts.rows.values())
    for key, count in keys.items():
        if count > 1:
            yield Broken(Rule.SUBMITTED_TWICE, key, f"{count} programs")


def wrong_ends(facts: Facts) -> Iterator[Broken]:
    """Find programs that have not ended, or not as they may."""
    done = {(each.run_id, each.step) for each in facts.attempts if each.outcome == "done"}
    ended = {entry.of for entry in facts.entries if entry.what == "end"}
    for run_id, row in facts.rows.items():
        is_finished, is_errored = row["finished_at"] is not None, row["errored_at"] is not None
        if not is_finished and not is_errored:
            yield Broken(Rule.NOT_ENDED, run_id, f"step {row['step']}, due {row['due_at']}")
        elif is_finished:
            steps = {(run_id, step) for step in range(len(row["jobs"]))}
            if is_errored or row["step"] != len(row["jobs"]) or steps - done or steps - ended:
                yield Broken(Rule.WRONG_END, run_id, f"finished at step {row['step']}")
        elif row["cancelled_at"] is None and not _lost_its_workers(row):
            yield Broken(Rule.WRONG_END, run_id, f"errored: {row['error_message']}")


def _lost_its_workers(row: Row) -> bool:
    return str(row["error_message"]).startswith("worker_lost") and row["lease_losses"] >= MAX_LOSSES


def broken_promises(facts: Facts) -> Iterator[Broken]:
    """Find cancels, resumes and edits that were answered with yes, and are not to be seen."""
    resumed = {note.run_id for note in facts.noted("resume")}
    for note in facts.notes:
        row = facts.rows.get(note.run_id)
        if row is None or not note.is_yes:
            continue
        is_kept = {
            "cancel": row["cancelled_at"] is not None or note.run_id in resumed,
            "resume": row["resumes"] > 0,
            "edit": note.what != "edit" or _is_in(row, note.value),
        }
        if not is_kept.get(note.what, True):
            yield Broken(Rule.PROMISE, note.run_id, f"{note.what} {note.value or ''}")


def _is_in(row: Row, edit: Row) -> bool:
    job, wanted = edit["job"], edit["data"]
    stored = row["job_data"].get(job, {})
    return all(stored.get(name) == value for name, value in wanted.items())


def poisoned(facts: Facts) -> Iterator[Broken]:
    """Find programs that were made to fail, and have no end, or are gone."""
    for run_id in facts.poison:
        row = facts.rows.get(run_id)
        if row is None:
            yield Broken(Rule.POISON, run_id, "no row")
        elif row["errored_at"] is None and row["finished_at"] is None:
            yield Broken(Rule.POISON, run_id, f"step {row['step']}, due {row['due_at']}")


def died(facts: Facts) -> Iterator[Broken]:
    """Find processes that nobody ended."""
    for name in facts.ended_alone:
        yield Broken(Rule.DIED, name, "see its log")
