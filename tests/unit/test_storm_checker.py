"""The storm's checker: it accepts what is permitted, and finds every forgery by its name."""

from collections.abc import Callable

import pytest

from chaos.storm.facts import MACHINE, Struck
from chaos.storm.judging import judge
from chaos.storm.rules import Rule
from chaos.storm.schedule import Kind
from chaos.storm.stories import LEASE_S, Story
from journal import Entry

FORGERIES: dict[Callable[[Story], object], Rule] = {}


def forges(rule: Rule) -> Callable[[Callable[[Story], object]], Callable[[Story], object]]:
    """Note which rule a forgery breaks."""

    def note(forge: Callable[[Story], object]) -> Callable[[Story], object]:
        FORGERIES[forge] = rule
        return forge

    return note


def found(story: Story) -> set[Rule]:
    """Return the rules that the checker finds broken."""
    return {broken.rule for broken in judge(story.facts())}


def killed_and_taken_over(story: Story) -> Story:
    """A worker dies in a step; when its lease has ended another runs the step, and the next."""
    story.submit("killed", 0).claim("killed", "w1", "a", 1).write("killed", "w1", "begin", 1.1)
    story.strike(Kind.KILL_WORKER, "w1", 1.5, 2)
    story.claim("killed", "w2", "b", 7).run("killed", "w2", "b", 7)
    return story.run("killed", "w2", "b", 8)


def cancelled_and_resumed(story: Story) -> Story:
    """Cancelled while it runs, resumed before its worker knows: two run it, one records it."""
    story.submit("steered", 0).claim("steered", "w1", "c", 1)
    story.write("steered", "w1", "begin", 1.1)
    story.change("steered", 1.5, is_errored=True, is_cancelled=True).note("cancel", "steered")
    story.note("resume", "steered").change(
        "steered", 2, resumes=1, is_errored=False, is_cancelled=False, lease=None, due_at=2
    )
    story.claim("steered", "w2", "d", 2.5).write("steered", "w2", "begin", 2.6)
    story.write("steered", "w1", "stopped", 2.7).write("steered", "w2", "end", 3)
    return story.record("steered", "w2", "d", 3.1).run("steered", "w2", "d", 3.2)


def frozen_before_the_first_line(story: Story) -> Story:
    """A worker falls asleep with a job's first line on its lips, and says it when it wakes."""
    story.submit("asleep", 0).claim("asleep", "w3", "e", 1)
    story.strike(Kind.FREEZE_WORKER, "w3", 1.05, 12)
    story.claim("asleep", "w2", "f", 7).run("asleep", "w2", "f", 7).run("asleep", "w2", "f", 8)
    return story.write("asleep", "w3", "begin", 12.1)


def plain(story: Story) -> Story:
    """One worker runs two steps."""
    story.submit("plain", 0).claim("plain", "w2", "g", 1)
    return story.run("plain", "w2", "g", 1).run("plain", "w2", "g", 2)


def locked(story: Story) -> Story:
    """Somebody locks its row for longer than a lease; then another worker runs it again."""
    story.submit("locked", 0).claim("locked", "w4", "L", 1).write("locked", "w4", "begin", 1.1)
    story.lock("locked", 1.5, 8).write("locked", "w4", "stopped", 6)
    story.claim("locked", "w2", "M", 8.1).run("locked", "w2", "M", 8.1)
    return story.run("locked", "w2", "M", 9.1)


def poisoned(story: Story) -> Story:
    """A row is changed by hand, to a step that it does not have; it ends with an error."""
    story.submit("poisoned", 0).change("poisoned", 0.5, step=99)
    story.change("poisoned", 1, lease="N", holder="w1").change(
        "poisoned", 1.1, lease=None, is_errored=True, due_at=None
    )
    story.poison.add("poisoned")
    return story


def cancelled(story: Story) -> Story:
    """Cancelled while it runs; its worker lets go."""
    story.submit("ended", 0).claim("ended", "w2", "h", 1).write("ended", "w2", "begin", 1.1)
    story.change("ended", 2, is_errored=True, is_cancelled=True).note("cancel", "ended")
    return story.write("ended", "w2", "stopped", 2.1).change("ended", 2.2, lease=None)


@pytest.mark.parametrize(
    "tell",
    [
        plain,
        cancelled,
        killed_and_taken_over,
        cancelled_and_resumed,
        frozen_before_the_first_line,
        locked,
        poisoned,
    ],
    ids=lambda tell: tell.__name__,
)
def test_right_story_is_accepted(tell: Callable[[Story], Story]) -> None:
    assert judge(tell(Story()).facts()) == []


def test_all_right_stories_together_are_accepted() -> None:
    story = Story()
    for tell in (plain, cancelled, killed_and_taken_over, frozen_before_the_first_line, poisoned):
        tell(story)
    locked(story)
    cancelled_and_resumed(story)
    assert judge(story.facts()) == []


@forges(Rule.LOST)
def accepted_and_not_to_be_found(story: Story) -> None:
    story.note("accepted", "nowhere", 201)


@forges(Rule.SUBMITTED_TWICE)
def one_key_two_programs(story: Story) -> None:
    story.submit("again", 0).claim("again", "w2", "i", 1)
    story.run("again", "w2", "i", 1).run("again", "w2", "i", 2)
    story.rows["again"] = story._row("again") | {"program_data": {"key": "key of plain"}}


@forges(Rule.NOT_ENDED)
def woken_and_forgotten(story: Story) -> None:
    story.submit("forgotten", 0)


@forges(Rule.WRONG_END)
def finished_without_its_last_step(story: Story) -> None:
    story.submit("short", 0, jobs=3).claim("short", "w2", "j", 1).run("short", "w2", "j", 1)
    story.change("short", 3, is_finished=True, lease=None, due_at=None)


@forges(Rule.WRONG_END)
def errored_for_no_reason(story: Story) -> None:
    story.submit("errored", 0).change("errored", 1, is_errored=True)


@forges(Rule.PROMISE)
def cancel_that_was_promised_and_not_done(story: Story) -> None:
    story.note("cancel", "plain")


@forges(Rule.PROMISE)
def resume_that_was_promised_and_not_done(story: Story) -> None:
    story.note("resume", "plain")


@forges(Rule.PROMISE)
def edit_that_was_promised_and_overwritten(story: Story) -> None:
    story.note("edit", "plain", value={"job": "job", "data": {"edited_by": "me"}})


@forges(Rule.ORDER)
def next_step_begun_before_the_end_of_the_first(story: Story) -> None:
    story.submit("hasty", 0).claim("hasty", "w2", "k", 1).write("hasty", "w2", "begin", 1.1)
    story.write("hasty", "w2", "begin", 1.2, step=1).write("hasty", "w2", "end", 1.3)
    story.write("hasty", "w2", "end", 1.4, step=1)
    story.record("hasty", "w2", "k", 1.5).record("hasty", "w2", "k", 1.6)


@forges(Rule.ORDER)
def first_step_begun_after_the_second(story: Story) -> None:
    story.write("plain", "w1", "begin", 9)


@forges(Rule.SKIPPED)
def step_counted_twice(story: Story) -> None:
    story.submit("skipped", 0, jobs=3).claim("skipped", "w2", "l", 1)
    story.write("skipped", "w2", "begin", 1.1).write("skipped", "w2", "end", 1.2)
    story.change("skipped", 1.3, step=2).receipt("skipped", "w2", "l", step=0)
    story.run("skipped", "w2", "l", 2)


@forges(Rule.AFTER_END)
def step_recorded_after_the_cancel(story: Story) -> None:
    story.write("ended", "w2", "end", 2.3).change("ended", 2.4, step=1)


@forges(Rule.AFTER_END)
def claim_of_a_cancelled_program(story: Story) -> None:
    story.claim("ended", "w1", "m", 9)


@forges(Rule.AFTER_END)
def data_of_a_finished_program_changed(story: Story) -> None:
    story.note("edit", "plain", 0).change("plain", 9, data="other")


@forges(Rule.TAKEN)
def claim_while_another_holds_it(story: Story) -> None:
    story.submit("taken", 0).claim("taken", "w1", "n", 1)
    story.claim("taken", "w2", "o", 2).run("taken", "w2", "o", 2).run("taken", "w2", "o", 3)


@forges(Rule.FENCE)
def step_recorded_by_one_who_lost_the_lease(story: Story) -> None:
    story.submit("unfenced", 0).claim("unfenced", "w1", "p", 1)
    story.write("unfenced", "w1", "begin", 1.1).claim("unfenced", "w2", "q", 7)
    story.write("unfenced", "w1", "end", 7.1).record("unfenced", "w1", "p", 7.2)
    story.run("unfenced", "w2", "q", 7.3)


@forges(Rule.FENCE)
def lease_of_another_dropped(story: Story) -> None:
    story.submit("dropped", 0).claim("dropped", "w1", "r", 1).change("dropped", 2, lease=None)
    story.claim("dropped", "w2", "s", 7).run("dropped", "w2", "s", 7).run("dropped", "w2", "s", 8)


@forges(Rule.DONE_TWICE)
def completion_of_the_loser_recorded_too(story: Story) -> None:
    story.receipt("killed", "w1", "a", step=0)


@forges(Rule.NEVER_DONE)
def completion_without_an_end(story: Story) -> None:
    story.submit("made-up", 0).claim("made-up", "w2", "t", 1).record("made-up", "w2", "t", 2)
    story.run("made-up", "w2", "t", 3)


@forges(Rule.UNCOMMITTED)
def next_step_begun_before_the_commit(story: Story) -> None:
    story.submit("eager", 0).claim("eager", "w2", "u", 1)
    story.write("eager", "w2", "begin", 1.1).write("eager", "w2", "end", 1.2)
    story.write("eager", "w2", "begin", 1.3, step=1).record("eager", "w2", "u", 2)
    story.write("eager", "w2", "end", 2.1, step=1).record("eager", "w2", "u", 2.2)


@forges(Rule.NO_LEASE)
def step_begun_by_a_stranger(story: Story) -> None:
    story.write("ended", "w1", "begin", 1.5)


@forges(Rule.NO_LEASE)
def step_begun_long_after_the_lease(story: Story) -> None:
    story.submit("late", 0).claim("late", "w1", "v", 1).write("late", "w1", "begin", 6.9)
    story.claim("late", "w2", "w", 7).run("late", "w2", "w", 7).run("late", "w2", "w", 8)


@forges(Rule.SAME_LEASE)
def step_begun_twice_under_one_lease(story: Story) -> None:
    story.entries.append(Entry("ended", 0, 1, "w2", "begin", 1.5))


@forges(Rule.OVERLAP)
def two_at_once_while_the_first_holds_it(story: Story) -> None:
    story.write("ended", "w1", "begin", 1.5)
    story.entries.sort(key=lambda entry: entry.at)


@forges(Rule.UNEXPLAINED)
def step_begun_again_though_nothing_befell_it(story: Story) -> None:
    story.struck.clear()


@forges(Rule.UNEXPLAINED)
def lease_lost_by_a_neighbour_of_a_locked_program(story: Story) -> None:
    locked(story)
    story.submit("beside", 0).claim("beside", "w4", "O", 1).write("beside", "w4", "begin", 1.2)
    story.write("beside", "w4", "stopped", 6).claim("beside", "w2", "P", 8.2)
    story.run("beside", "w2", "P", 8.2).run("beside", "w2", "P", 9.2)


@forges(Rule.UNEXPLAINED)
def renewal_that_waited_for_the_row_of_another_program(story: Story) -> None:
    locked(story)
    story.submit("late", 0).claim("late", "w4", "O", 1).write("late", "w4", "begin", 1.2)
    story.write("late", "w4", "stopped", 6).change("late", 8.1, due_at=7)
    story.claim("late", "w2", "P", 8.2).run("late", "w2", "P", 8.2).run("late", "w2", "P", 9.2)


@forges(Rule.POISON)
def poisoned_program_that_nobody_ends(story: Story) -> None:
    story.submit("toxic", 0).change("toxic", 0.5, step=99)
    story.poison.add("toxic")


@forges(Rule.WRONG_END)
def program_that_ended_because_of_a_poisoned_one(story: Story) -> None:
    poisoned(story)
    story.submit("neighbour", 0).change("neighbour", 1, is_errored=True)


@forges(Rule.DIED)
def worker_that_ended_by_itself(story: Story) -> None:
    story.ended_alone.append("w2")


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_forgery_is_found(forge: Callable[[Story], object]) -> None:
    story = killed_and_taken_over(cancelled(plain(Story())))
    forge(story)
    assert FORGERIES[forge] in found(story)


def test_every_rule_has_a_forgery() -> None:
    assert set(FORGERIES.values()) == set(Rule)


def test_first_line_of_a_worker_that_was_not_asleep_is_no_sleepers() -> None:
    story = frozen_before_the_first_line(Story())
    story.struck[:] = [Struck(Kind.FREEZE_WORKER, frozenset(["w2"]), 1.05, 12, 1)]
    assert Rule.NO_LEASE in found(story)


def test_machine_that_stood_still_explains_what_was_begun_again() -> None:
    story = killed_and_taken_over(Story())
    story.struck[:] = [Struck(MACHINE, frozenset(["w1"]), 1.5, 1.5 + LEASE_S, 0)]
    assert judge(story.facts()) == []
