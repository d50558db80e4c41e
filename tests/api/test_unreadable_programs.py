"""Unreadable rows: whatever somebody wrote into one, every page that shows it shows the others."""

from builders import by_hand, scribble, seconds_ago
from program_service.bookkeeping.database import Database
from program_service.bookkeeping.ledger.measuring import pulse
from screens import VIEWS
from servers import on_postgresql, on_sqlite
from serving import Service, json_of, problem_of

NOTE = "(unreadable)"

JSON: dict[str, tuple[str, str]] = {
    "lone surrogate": ("program_data", '{"name": "\\ud83d!"}'),
    "beyond a double": ("program_data", '{"amount": 1e400, "fine": 1}'),
    "too deep to be written": ("program_data", '{"a":' * 300 + "1" + "}" * 300),
    "too deep to be read": ("program_data", '{"a":' * 2_000 + "1" + "}" * 2_000),
    "data a list": ("program_data", "[1]"),
    "data a text": ("program_data", '"text"'),
    "job data null": ("job_data", "null"),
    "job's data a list": ("job_data", '{"reserve": [1]}'),
    "jobs an object": ("jobs", '{"0": "reserve"}'),
    "jobs numbers": ("jobs", "[1, null, {}]"),
    "jobs null": ("jobs", "null"),
    "labels a list": ("labels", "[1]"),
    "labels numbers": ("labels", '{"tenant": 7, "other": null}'),
}
RUNS = {"labels a list", "labels numbers", "too deep to be written"}
"""What no worker minds."""

MOMENTS = ("created_at", "updated_at", "due_at", "woken_at", "errored_at", "finished_at")


async def submitted(service: Service) -> str:
    """Submit a program."""
    return str((await service.submit("reserve", labels={"tenant": "acme"}))["run_id"])


async def every_page_shows(service: Service, *run_ids: str) -> None:
    """Look at all pages on which these programs are."""
    for query in ("", "?label=tenant:acme", "?order=oldest"):
        answer = await service.client.get(f"/programs{query}")
        assert answer.status_code == 200, (query, answer.text)
    listed = json_of(await service.client.get("/programs?limit=100"))["programs"]
    assert {program["run_id"] for program in listed} >= set(run_ids)
    for path in VIEWS:
        answer = await service.client.get(path)
        assert answer.status_code == 200, (path, answer.text)
    for run_id in run_ids:
        for path in ("/programs/{}", "/programs/{}/explain", "/ui/programs/{}"):
            answer = await service.client.get(path.format(run_id))
            assert answer.status_code == 200, (path, answer.text)


async def test_what_can_be_read_of_odd_json_is_shown_beside_the_others(service: Service) -> None:
    good, bad = await submitted(service), {kind: await submitted(service) for kind in JSON}
    for kind, (column, text) in JSON.items():
        await scribble(service.database, bad[kind], column, text)
    await every_page_shows(service, good, *bad.values())
    for kind in JSON.keys() - RUNS:
        explained = await service.explain(bad[kind])
        assert explained["reason"] == "unreadable_row"
        assert explained["text"].startswith("This row cannot be read: ")
    shown = {kind: (await service.get(bad[kind]))[column] for kind, (column, _) in JSON.items()}
    assert shown["lone surrogate"] == {"name": "?!"}
    assert shown["beyond a double"] == {"amount": "1e400", "fine": 1}
    assert shown["too deep to be written"] == {NOTE: "program_data nests too deeply to be shown"}
    assert "depth limit" in shown["too deep to be read"][NOTE]
    assert shown["data a list"] == {NOTE: "program_data is a list, not an object"}
    assert shown["data a text"] == {NOTE: "program_data is a text, not an object"}
    assert shown["job data null"] == {NOTE: {NOTE: "job_data is null, not an object"}}
    said = "job_data.reserve is a list, not an object"
    assert shown["job's data a list"] == {"reserve": {NOTE: said}}
    assert shown["jobs an object"] == []
    assert shown["jobs numbers"] == ["1", "null", "{}"]
    assert shown["labels a list"] == {NOTE: "labels is a list, not an object"}
    assert shown["labels numbers"] == {"tenant": "7", "other": "null"}


async def test_odd_numbers_are_shown_beside_the_others(service: Service) -> None:
    numbers = [{"step": 7}, {"step": -1}, {"step_retry_count": -5, "lease_losses": 2**31 - 1}]
    run_ids = [await submitted(service) for _ in range(4)]
    for run_id, columns in zip(run_ids, numbers, strict=False):
        await by_hand(service.database, run_id, **columns)
    await every_page_shows(service, *run_ids)


async def assign(database: Database, run_id: str, column: str, expression: str) -> None:
    """Assign an SQL expression, as somebody with a prompt would."""
    name = database.tables.programs.name
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"UPDATE {name} SET {column} = {expression} WHERE run_id = '{run_id}'"
        )


@on_postgresql
async def test_moments_beyond_the_years_of_python_are_shown_as_the_nearest(
    service: Service,
) -> None:
    years = {
        "infinity": "9999",
        "-infinity": "0001",
        "20000-01-01": "9999",
        "0044-03-15 BC": "0001",
    }
    run_ids = [await submitted(service)]
    for column in MOMENTS:
        for moment, year in years.items():
            run_ids.append(await submitted(service))
            await assign(service.database, run_ids[-1], column, f"'{moment}'")
            shown = (await service.get(run_ids[-1])).get(column)
            assert shown is None or shown.startswith(year)
    await every_page_shows(service, *run_ids)


ANYTHING = [
    *((column, "'yesterday'") for column in MOMENTS),
    *((column, "7") for column in MOMENTS),
    *((column, "'no json'") for column in ("jobs", "program_data", "job_data", "labels")),
    *((column, "x'ff'") for column in ("jobs", "program_data", "job_data", "labels")),
    *((column, "x'ff'") for column in ("job", "queue", "claimed_by", "notify", "error_message")),
    *((column, "'many'") for column in ("step", "step_retry_count", "lease_losses", "resumes")),
    ("version", "'newest'"),
    ("step", "1.5"),
    ("awaiting", "'one'"),
    ("program_data", "7"),
    ("jobs", "''"),
    ("error_message", "CAST(x'ff41' AS TEXT)"),
]


@on_sqlite
async def test_rows_of_sqlite_which_keeps_anything_are_shown_beside_the_others(
    service: Service,
) -> None:
    run_ids = [await submitted(service)]
    for column, expression in ANYTHING:
        run_ids.append(await submitted(service))
        await assign(service.database, run_ids[-1], column, expression)
    await every_page_shows(service, *run_ids)


async def count_oddly(database: Database, *rows: dict[str, str]) -> None:
    """Insert rows of counts, with SQL expressions of somebody's own."""
    is_sqlite = database.clock is not None
    minute = "'2030-01-01 00:00:00.000000'" if is_sqlite else database.sql.dialect.minute
    usual = {"minute": minute, "job": "'odd'", "outcome": "'done'", "shard": "0", "count": "1"}
    async with database.engine.begin() as connection:
        for number, odd in enumerate(rows):
            values = usual | {"worker": f"'{number}'", "bucket": "1"} | odd
            columns = ", ".join(f'"{name}"' for name in values)
            await connection.exec_driver_sql(
                f"INSERT INTO {database.tables.rollups.name} ({columns})"
                f" VALUES ({', '.join(values.values())})"
            )


async def test_odd_counts_are_shown(service: Service) -> None:
    odd = [{"bucket": "32767"}, {"bucket": "-32768"}, {"outcome": "'odd'", "count": "-1"}]
    await count_oddly(service.database, *odd)
    await every_page_shows(service)


@on_sqlite
async def test_odd_counts_of_sqlite_are_shown(service: Service) -> None:
    columns = ("job", "outcome", "bucket", "shard", "count", "minute")
    odd = [{column: value} for column in columns for value in ("x'ff'", "'odd'")]
    await count_oddly(service.database, *odd)
    await every_page_shows(service)


async def test_counts_whose_sum_is_too_great_are_shown(service: Service) -> None:
    is_sqlite = service.database.clock is not None
    counts = [str(2**63 - 1), "9e999", str(2**63 - 1)] if is_sqlite else [str(2**31 - 1)] * 3
    odd = [{"count": count} for count in counts]
    await count_oddly(service.database, *odd, *({"outcome": "'finished'"} | each for each in odd))
    await every_page_shows(service)
    await service.database.read(pulse)


@on_sqlite
async def test_odd_errors_are_grouped_with_the_others(service: Service) -> None:
    for column in ("job", "error_message", "errored_at"):
        run_id = await submitted(service)
        failed = seconds_ago(service.database, 1)
        await by_hand(service.database, run_id, errored_at=failed, error_message="no")
        await assign(service.database, run_id, column, "x'ff'")
    await every_page_shows(service)


@on_sqlite
async def test_attempts_with_odd_logs_are_shown(service: Service) -> None:
    run_id, name = await submitted(service), service.database.tables.attempts.name
    logs = ["'no json'", "'[1, null]'", "'{}'", "x'ff'", "7", """'[{"at": "?", "level": 1}]'"""]
    async with service.database.engine.begin() as connection:
        for number, log in enumerate(logs):
            await connection.exec_driver_sql(
                f"INSERT INTO {name} (run_id, lease, step, attempt, job, finished_at, outcome, log)"
                f" VALUES ('{run_id}', '{number}', 0, 'x', 'reserve', 'once', x'ff', {log})"
            )
    answer = await service.client.get(f"/programs/{run_id}/attempts")
    assert [each["log"] for each in json_of(answer)["attempts"]] == [[]] * len(logs)
    assert (await service.client.get(f"/ui/programs/{run_id}")).status_code == 200


async def test_unreadable_program_is_resumed_once_it_is_repaired(service: Service) -> None:
    run_id = await submitted(service)
    await scribble(service.database, run_id, "program_data", "[1]")
    await by_hand(service.database, run_id, errored_at=seconds_ago(service.database, 1))
    resume = f"/programs/{run_id}/resume"
    problem = problem_of(await service.client.post(resume), 409, "not_resumable")
    assert "program_data is a list, not an object" in problem["detail"]
    assert "once its row is repaired" in (await service.explain(run_id))["text"]
    events = await service.client.get(f"/programs/{run_id}/events")
    assert (events.status_code, NOTE in events.text) == (200, True)
    await scribble(service.database, run_id, "program_data", "{}")
    assert json_of(await service.client.post(resume))["status"] == "pending"


async def test_step_that_is_out_of_range_is_repaired_by_a_resume(service: Service) -> None:
    run_id = await submitted(service)
    await by_hand(service.database, run_id, step=7, errored_at=seconds_ago(service.database, 1))
    resume = f"/programs/{run_id}/resume"
    problem = problem_of(await service.client.post(resume), 409, "not_resumable")
    assert "from_step is 7" in problem["detail"]
    answer = await service.client.post(resume, json={"from_step": 0})
    assert json_of(answer)["status"] == "pending"


async def test_what_cannot_be_read_is_not_edited_and_keeps_its_jobs(service: Service) -> None:
    run_id = await submitted(service)
    await scribble(service.database, run_id, "job_data", "[1]")
    path = f"/programs/{run_id}/job-data/reserve"
    problem = problem_of(await service.client.put(path, json={"a": 1}), 409, "unreadable_row")
    assert problem["detail"] == "This row cannot be read: job_data is a list, not an object."
    await scribble(service.database, run_id, "jobs", '{"0": "ship"}')
    problem = problem_of(await service.client.delete("/jobs/ship"), 409, "job_needed")
    assert run_id in problem["detail"]
