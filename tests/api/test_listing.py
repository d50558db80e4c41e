"""Listing: programs by filters and pages; never an offset, never a total count."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from builders import by_hand, seconds_ago
from serving import Json, Service, json_of, problem_of

HOUR_AGO_S = 3_600


async def listed(service: Service, **query: Any) -> list[str]:
    """Return the run_ids of a list's first page."""
    answer = await service.client.get("/programs", params=query)
    assert answer.status_code == 200, answer.text
    return [program["run_id"] for program in json_of(answer)["programs"]]


async def submitted(service: Service, count: int, **fields: Any) -> list[str]:
    """Submit programs, oldest first."""
    return [(await service.submit("reserve", **fields))["run_id"] for _ in range(count)]


def next_of(answer: httpx.Response) -> str | None:
    """Return the address of the next page."""
    link = answer.headers.get("link")
    if link is None:
        return None
    assert link.endswith('>; rel="next"')
    return str(link.removeprefix("<").removesuffix('>; rel="next"'))


async def test_newest_come_first_or_the_oldest_when_asked_for(service: Service) -> None:
    run_ids = await submitted(service, 5)
    assert await listed(service) == run_ids[::-1]
    assert await listed(service, order="newest") == run_ids[::-1]
    assert await listed(service, order="oldest") == run_ids


@pytest.mark.parametrize("order", ["newest", "oldest"])
async def test_pages_show_each_program_once_while_more_come(service: Service, order: str) -> None:
    run_ids = await submitted(service, 7)
    address: str | None = f"/programs?limit=3&order={order}"
    seen: list[str] = []
    while address:
        answer = await service.client.get(address)
        page = json_of(answer)
        assert "total" not in page
        assert (page["next_cursor"] is None) == (next_of(answer) is None)
        seen += [program["run_id"] for program in page["programs"]]
        address = next_of(answer)
        if len(seen) == 3:
            run_ids += await submitted(service, 1)
    expected = run_ids if order == "oldest" else run_ids[6::-1]
    assert seen == expected


async def test_link_keeps_the_filters(service: Service) -> None:
    mine = await submitted(service, 5, labels={"team": "eu & us", "a": "b+c"})
    await submitted(service, 5)
    query: dict[str, Any] = {
        "label": ["team:eu & us", "a:b+c"],
        "limit": 2,
        "in_progress": "true",
        "created_after": "2001-01-01T00:00:00+05:30",
        "step_retry_count_gte": 0,
        "queue": "default",
    }
    answer = await service.client.get("/programs", params=query)
    seen = [program["run_id"] for program in json_of(answer)["programs"]]
    while address := next_of(answer):
        answer = await service.client.get(address)
        assert answer.status_code == 200, answer.text
        seen += [program["run_id"] for program in json_of(answer)["programs"]]
    assert seen == mine[::-1]


async def test_page_that_is_just_full_is_the_last(service: Service) -> None:
    await submitted(service, 3)
    answer = await service.client.get("/programs?limit=3")
    assert json_of(answer)["next_cursor"] is None
    assert "link" not in answer.headers


async def test_page_has_50_programs_unless_asked_for_up_to_200(service: Service) -> None:
    body: Json = {"programs": [{"jobs": ["reserve"]}] * 210}
    await service.client.post("/programs/batch", json=body)
    assert len(await listed(service)) == 50
    assert len(await listed(service, limit=200)) == 200


@pytest.mark.parametrize(
    "cursor",
    ["nonsense", "", "e30", "eyJpZCI6LTF9", "eyJpZCI6ICJ4In0", "bnVsbA", "ö", "eyJpZCI6dHJ1ZX0"],
)
async def test_cursor_of_somebody_else_is_refused(service: Service, cursor: str) -> None:
    """They read: {}, {"id": -1}, {"id": "x"}, null, and {"id": true}."""
    problem_of(await service.client.get("/programs", params={"cursor": cursor}), 422, "bad_cursor")


async def test_there_is_no_offset(service: Service) -> None:
    for name in ("offset", "page", "skip"):
        problem = problem_of(await service.client.get(f"/programs?{name}=1"), 422, "invalid")
        assert problem["errors"][0]["field"] == name


async def test_filter_by_status(service: Service) -> None:
    statuses = {
        "pending": await submitted(service, 1),
        "scheduled": await submitted(service, 1, start_at="2099-01-01T00:00:00Z"),
        "cancelled": await submitted(service, 1),
        "errored": await submitted(service, 1),
        "finished": await submitted(service, 1),
        "running": await submitted(service, 1),
        "retrying": await submitted(service, 1, start_at="2099-01-01T00:00:00Z"),
        "waiting": await submitted(service, 1),
    }
    now = seconds_ago(service.database, 0)
    edits: dict[str, Any] = {
        "errored": {"errored_at": now},
        "finished": {"finished_at": now, "due_at": None, "step": 1},
        "running": {"claimed_by": "worker-1", "lease": "a" * 16},
        "retrying": {"step_retry_count": 2},
        "waiting": {"awaiting": 1},
    }
    for status, columns in edits.items():
        await by_hand(service.database, statuses[status][0], **columns)
    await service.client.post(f"/programs/{statuses['cancelled'][0]}/cancel")
    for status, run_ids in statuses.items():
        assert await listed(service, status=status) == run_ids, status
        assert (await service.get(run_ids[0]))["status"] == status
    going_on = [statuses[each][0] for each in statuses if each not in {"cancelled", "errored"}]
    going_on.remove(statuses["finished"][0])
    assert sorted(await listed(service, in_progress=True)) == sorted(going_on)
    assert await listed(service, step_retry_count_gte=1) == statuses["retrying"]
    assert await listed(service, step_retry_count_gte=3) == []


async def test_filter_by_current_job_and_queue(service: Service) -> None:
    at_reserve = (await service.submit("reserve", "charge"))["run_id"]
    at_charge = (await service.submit("charge"))["run_id"]
    await by_hand(service.database, at_charge, queue="bank")
    assert await listed(service, job="reserve") == [at_reserve]
    assert await listed(service, job="charge") == [at_charge]
    assert await listed(service, queue="bank") == [at_charge]
    assert await listed(service, queue="default", job="charge") == []


async def test_filter_by_labels(service: Service) -> None:
    both = (await submitted(service, 1, labels={"team": "eu", "tier": "gold"}))[0]
    one = (await submitted(service, 1, labels={"team": "eu"}))[0]
    odd_labels = {'ke"y.with $signs[0]': "val:ue", "ключ": "значение"}
    odd = (await submitted(service, 1, labels=odd_labels))[0]
    await submitted(service, 1)
    assert await listed(service, label="team:eu") == [one, both]
    assert await listed(service, label=["team:eu", "tier:gold"]) == [both]
    assert await listed(service, label="team:us") == []
    assert await listed(service, label="tier:") == []
    for key, value in odd_labels.items():
        assert await listed(service, label=f"{key}:{value}") == [odd]


async def test_filter_by_time(service: Service) -> None:
    old, new = await submitted(service, 2)
    await by_hand(service.database, old, created_at=seconds_ago(service.database, HOUR_AGO_S))
    created = quote((await service.get(new))["created_at"])
    assert await listed(service, created_after="2001-01-01T00:00:00Z") == [new, old]
    assert await listed(service, created_before="2001-01-01T00:00:00Z") == []
    answer = await service.client.get(f"/programs?created_before={created}")
    assert [each["run_id"] for each in json_of(answer)["programs"]] == [old]
    old_created = (await service.get(old))["created_at"]
    assert await listed(service, created_after=old_created) == [new]


async def test_filter_by_error_text(service: Service) -> None:
    closed, odd, _ = await submitted(service, 3)
    await by_hand(service.database, closed, error_message="the bank is closed")
    await by_hand(service.database, odd, error_message="100% of a_b were \\ wrong")
    after = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert await listed(service, error="bank", created_after=after) == [closed]
    for text in ("100%", "a_b", "\\", "% of"):
        assert await listed(service, error=text, created_after=after) == [odd]
    assert await listed(service, error="a%b", created_after=after) == []
    assert await listed(service, error="axb", created_after=after) == []
    problem = problem_of(await service.client.get("/programs?error=bank"), 422, "invalid")
    assert "created_after" in problem["detail"]
