"""The main job, by a client that openapi-python-client has generated; test_clients.py runs it."""

import sys
from datetime import UTC, datetime

from program_executor_client import Client
from program_executor_client.api.programs import (
    cancel_program,
    get_program,
    list_attempts,
    list_programs,
    submit_program,
)
from program_executor_client.models import Problem, Program, ProgramRequest, Status

address, folder = sys.argv[1:]
client = Client(base_url=address)

order = {
    "jobs": ["charge", "write_invoice"],
    "program_data": {"card": "4242", "cents": 1999, "folder": folder},
    "labels": {"by": "python"},
}
submitted = submit_program.sync(client=client, body=ProgramRequest.from_dict(order))
assert isinstance(submitted, Program), submitted

program = get_program.sync(submitted.run_id, client=client, prefer="wait=30")
assert isinstance(program, Program)
assert program.status == Status.FINISHED
assert (program.progress.done, program.progress.total) == (2, 2)
assert isinstance(program.finished_at, datetime)

page = list_programs.sync(client=client, label=["by:python"], status=Status.FINISHED)
assert [each.run_id for each in page.programs] == [program.run_id]

tried = list_attempts.sync(program.run_id, client=client)
assert [(each.job, each.outcome) for each in tried.attempts] == [
    ("charge", "done"),
    ("write_invoice", "done"),
]

start_at = datetime(2999, 1, 1, tzinfo=UTC)
later = submit_program.sync(client=client, body=ProgramRequest(jobs=["charge"], start_at=start_at))
assert isinstance(later, Program)
cancelled = cancel_program.sync(later.run_id, client=client)
assert isinstance(cancelled, Program)
assert cancelled.status == Status.CANCELLED

refused = cancel_program.sync(program.run_id, client=client)
assert isinstance(refused, Problem)
assert refused.code == "already_final"

unknown = submit_program.sync(client=client, body=ProgramRequest(jobs=["chrage"]))
assert isinstance(unknown, Problem)
assert unknown.errors[0].hint == "did you mean 'charge'?"
print("python: fine")
