"""Rows: each change that was committed was a permitted one, made by the holder of the lease."""

from collections import Counter
from collections.abc import Iterator

from chaos.storm.facts import Facts, State
from chaos.storm.rules import Broken, Rule

Change = tuple[State, State]


def skipped(facts: Facts) -> Iterator[Broken]:
    """Find changes of the step other than to the next; a resume keeps it."""
    for before, after in facts.pairs():
        if after.step not in {before.step, before.step + 1}:
            yield Broken(Rule.SKIPPED, after.run_id, f"from {before.step} to {after.step}")
    for run_id, row in facts.rows.items():
        if row["step"] > len(row["jobs"]):
            yield Broken(Rule.SKIPPED, run_id, f"step {row['step']} of {len(row['jobs'])}")


def changed_after_the_end(facts: Facts) -> Iterator[Broken]:
    """Find changes of rows that had ended; a resume, letting go and a client's edit are none."""
    edits = Counter(note.run_id for note in facts.noted("edit"))
    for before, after in facts.pairs():
        if not before.is_final or after.resumes > before.resumes:
            continue
        is_edit = after.data != before.data and not before.is_finished and edits[after.run_id] > 0
        edits[after.run_id] -= is_edit
        is_other_data = after.data != before.data and not is_edit
        if _substance(before) != _substance(after) or is_other_data:
            yield Broken(Rule.AFTER_END, after.run_id, f"{before} became {after}")
        elif after.lease not in {None, before.lease}:
            yield Broken(Rule.AFTER_END, after.run_id, f"claimed by {after.holder}")


def _substance(state: State) -> tuple[object, ...]:
    return (
        state.step,
        state.is_finished,
        state.is_errored,
        state.is_cancelled,
        state.retries,
        state.losses,
    )


def claimed_too_early(facts: Facts) -> Iterator[Broken]:
    """Find claims of programs that were not due: held by somebody, or to be run later."""
    for before, after in facts.pairs():
        is_claim = after.lease is not None and after.lease != before.lease
        if is_claim and (before.due_at is None or after.at < before.due_at):
            held = f"while {before.holder} held it" if before.lease else "early"
            yield Broken(Rule.TAKEN, after.run_id, f"by {after.holder}, {held}")


def recorded_without_the_lease(facts: Facts) -> Iterator[Broken]:
    """Find advances that the holder of the lease did not write, and drops of leases likewise.

    Whoever writes an outcome writes its attempt in the same transaction, under its own lease.
    """
    receipts = {
        (each.run_id, each.step, each.lease, each.transaction): each for each in facts.attempts
    }
    for before, after in facts.pairs():
        is_advance = after.step != before.step
        is_drop = before.lease is not None and after.lease is None
        if after.resumes > before.resumes or not (is_advance or is_drop):
            continue
        receipt = receipts.get((before.run_id, before.step, before.lease or "", after.transaction))
        if receipt is None and not before.is_final:
            yield Broken(Rule.FENCE, after.run_id, f"{before} became {after}")
        elif (
            receipt and is_advance and (receipt.outcome, receipt.worker) != ("done", before.holder)
        ):
            yield Broken(Rule.FENCE, after.run_id, f"step {before.step} by {receipt.worker}")


def done_twice(facts: Facts) -> Iterator[Broken]:
    """Find steps with more than one recorded completion: a resume goes on at a step not done."""
    done = Counter((each.run_id, each.step) for each in facts.attempts if each.outcome == "done")
    for (run_id, step), count in done.items():
        if count > 1:
            yield Broken(Rule.DONE_TWICE, run_id, f"step {step}, {count} times")


def never_done(facts: Facts) -> Iterator[Broken]:
    """Find recorded completions of steps that no file says their worker came to the end of."""
    ended = {(entry.of, entry.worker) for entry in facts.entries if entry.what == "end"}
    for each in facts.attempts:
        step = (each.run_id, each.step)
        if each.outcome == "done" and (step, each.worker) not in ended:
            yield Broken(Rule.NEVER_DONE, each.run_id, f"step {each.step} by {each.worker}")
