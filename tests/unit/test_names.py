"""Names: one definition for settings, decorators, requests, the chart and the broker."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from program_executor import job
from program_service import names
from program_service.api.schemas import CallbackJobRequest, JobName
from program_service.settings import Settings
from program_service.wakeups.rabbitmq.driver.errors import BadName
from program_service.wakeups.rabbitmq.topology import Topology
from program_workers.errors import LibraryError

CHART = Path(__file__).parents[2] / "helm" / "program-executor" / "values.schema.json"

BAD_QUEUES = [
    *("", " ", "größe", "a(b)", "a,b", " a", "a ", "a\nb", "a\0", "a\n", "Ω", "a" * 151, "a" * 255),
    *("dead-letters", "\ud800", "a\tb", "a*", "a;b", "a\u200b"),
]
GOOD_QUEUES = ["default", "a", "mail.eu-1", "a b", "a/b", "@x:#+_", "q" * 150]
BAD_JOBS = ["", "a" * 256, ".", "..", "a\0", "a\nb", "a\x1b[2J", "a\u202eb", "mail/rotate-secret"]
GOOD_JOBS = ["charge", "größe", "send mail", "a/b", "🐟", "a" * 255, "ф" * 255, "a(b)", "..."]


def a_job(**terms: Any) -> object:
    return job("charge", **terms)(print)


def says_no(make: Any) -> bool:
    """Say whether something is refused, as each place refuses."""
    try:
        make()
    except (LibraryError, ValidationError):
        return True
    return False


@pytest.mark.parametrize("name", [*BAD_QUEUES, *GOOD_QUEUES])
def test_queues_have_the_same_names_everywhere(name: str) -> None:
    is_bad = name in BAD_QUEUES
    assert says_no(lambda: a_job(queue=name)) is is_bad
    assert says_no(lambda: CallbackJobRequest(url="https://a.example", queue=name)) is is_bad
    assert says_no(lambda: Settings.model_validate({"queues": [name]})) is is_bad
    queue = json.loads(CHART.read_text())["definitions"]["queue"]
    is_of_chart = re.search(queue["pattern"], name) and name != queue["not"]["const"]
    # Python alone takes a $ for the end before a last line break
    assert bool(is_of_chart) is (not is_bad or name == "a\n")


@pytest.mark.parametrize("name", [*BAD_JOBS, *GOOD_JOBS])
def test_jobs_have_the_same_names_everywhere(name: str) -> None:
    is_bad = name in BAD_JOBS
    assert says_no(lambda: job(name)(print)) is is_bad
    assert says_no(lambda: TypeAdapter(JobName).validate_python(name)) is is_bad


@given(prefix=st.from_regex(r"[a-zA-Z0-9\-_.:@#,/+ ]{1,100}", fullmatch=True), data=st.data())
def test_every_queue_with_every_prefix_fits_the_broker(prefix: str, data: st.DataObject) -> None:
    queue = data.draw(st.from_regex(names.QUEUE, fullmatch=True))
    topology = Topology(prefix)
    for name in (topology.queue(queue), topology.dead, topology.ears(), topology.probe()):
        assert names.is_name_in_broker(name)
        assert len(name.encode()) <= 255


@given(st.text(max_size=300) | st.from_regex(r"[a-z.]{100,300}", fullmatch=True))
def test_any_text_is_a_name_or_is_refused_with_what_would_be_right(text: str) -> None:
    if re.fullmatch(names.QUEUE, text):
        assert names.require_queue_name(text) == text
        return
    with pytest.raises(ValueError, match="use 1 to 150 letters") as caught:
        names.require_queue_name(text)
    assert len(str(caught.value)) < 1_000


def test_names_of_rows_that_the_broker_cannot_have_are_refused_there() -> None:
    """Rows of older releases, and of people, have any queue: each is an error of its own."""
    assert Topology("shop").queue("a,b") == "shop.a,b"
    for queue in ("größe", "a(b)", "a" * 251):
        with pytest.raises(BadName):
            Topology("shop").queue(queue)


@pytest.mark.parametrize("name", ["", "größe", "a(b)", "amq.mine", "AMQ.x", "a" * 101, "a\nb"])
def test_first_part_of_queues_that_rabbitmq_does_not_take_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"queue_name": name})


def test_queue_that_is_named_twice_is_served_once() -> None:
    assert Settings.model_validate({"queues": "mail, bank,mail"}).queues == ["mail", "bank"]
    with pytest.raises(ValidationError, match="at least one queue"):
        Settings.model_validate({"queues": ""})


@pytest.mark.parametrize("name", ["a" * 241, "a\nb", "a\x1b[2J", "\ud800"])
def test_name_of_a_worker_that_cannot_be_kept_or_shown_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"worker_name": name})
