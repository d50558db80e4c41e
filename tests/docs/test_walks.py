"""Walks: the pages are typed as they stand, and show what comes; see tests/walking.py."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from brokers import some_rabbitmq
from doc_pages import FENCE, ROOT, blocks_of_commands, pages
from networks import NoNetworkError, own_network, the_machines
from private_rabbitmq import NoRabbitError
from skips import or_skip
from terminals import Room
from walking import Plan, Walk

PORTS = (8080, 8081)
INDEX = re.compile(r"(PIP|UV|SSL)_|.*_proxy$", re.IGNORECASE)
LEFT_OUT = shutil.ignore_patterns(
    ".*", "site", "dist", "__pycache__", "node_modules", "program-executor-data"
)
RUNS_THIS = "it would run this test"

# A venv that sees what the project's has: what `pip install .` leaves, without a network.
SEES = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})"
COMMAND = Path(sys.executable).with_name("program-executor")
INSTALLED = (
    f'echo "{SEES}" > $(echo $VIRTUAL_ENV/lib/python*/site-packages)/project.pth'
    f" && sed 1c'#!'$VIRTUAL_ENV/bin/python {COMMAND} > $VIRTUAL_ENV/bin/program-executor"
    " && chmod +x $VIRTUAL_ENV/bin/program-executor"
)

README = Plan("README.md", stand_ins={"make test": f": {RUNS_THIS}"})
START = Plan("docs/start.md", stand_ins={"pip install .": INSTALLED})
WHOLE = [README, START]
"""They take nothing for granted but a clone."""

AN_EXAMPLE = "the page shows one that went otherwise"

OTHERS = [
    Plan(
        "docs/http.md",
        not_typed={
            "npm install openapi-fetch": "packages of others: tests/openapi/test_clients.py",
            "uvx openapi-python-client": "packages of others: tests/openapi/test_clients.py",
            "export PROGRAM_EXECUTOR_KEY=$key": "a service with keys: tests/cli",
        },
        not_compared={
            "curl -N localhost:8080/programs/$run_id/events": "it has ended before",
            "curl -s localhost:8080/programs/$run_id/attempts": AN_EXAMPLE,
            "curl -s localhost:8080/programs/$run_id/explain": AN_EXAMPLE,
            "program-executor submit charge": "it is for a terminal, and pictures are no lines",
        },
    ),
    Plan(
        "docs/operate.md",
        given=("cd examples",),
        not_typed={
            "program-executor profile add prod": "it asks for a key; tests/cli",
            "rabbitmqctl set_permissions": "tests/broker/test_permissions.py",
        },
    ),
    Plan(
        "docs/callbacks.md",
        given=("program-executor dev",),
        not_typed={
            "export PROGRAM_EXECUTOR_ENDPOINT_SECRET": "an endpoint of theirs: tests/check_endpoint"
        },
    ),
    Plan(
        "docs/limits.md",
        given=("PROGRAM_EXECUTOR_UNKNOWN_JOBS=accept program-executor dev",),
    ),
]
"""They take it for granted that Program Executor is installed."""

OPTIONS = "its options: tests/docs/test_commands.py"

ELSEWHERE = {
    ("CONTRIBUTING.md", ".venv/bin/pytest tests/openapi"): "it is a test",
    ("CONTRIBUTING.md", "PYTHONPATH=tests .venv/bin/schemathesis"): "tests/openapi/test_fuzzing.py",
    ("docs/deploy.md", "program-executor keys new ops"): "a cluster: tests/deploy",
    ("docs/jobs.md", "cd examples && python -m pytest shop"): "tests/docs/test_examples.py",
    ("docs/jobs.md", "program-executor work shop.jobs"): OPTIONS,
    ("docs/moving-from-celery.md", "program-executor work shop.tasks"): OPTIONS,
    ("docs/moving-from-node.md", "rabbitmqctl list_queues"): "queues of others",
    ("docs/moving-from-node.md", "program-executor adopt"): "tests/story/test_adopted.py",
    ("docs/moving-from-node.md", "program-executor serve"): "as in README.md",
    ("docs/security.md", "program-executor keys list"): "tests/cli",
    ("docs/traces.md", "pip install '.[otel]'"): "packages of others; then tests/traces",
    ("docs/upgrading.md", "program-executor migrate"): "tests/upgrade",
    ("examples/endpoints/README.md", ""): "tests/endpoints",
    ("examples/node-library/README.md", ""): "tests/endpoints",
}
"""{(page, beginning of a block): what else looks after it}, for pages that nobody walks."""

TOOLS = ("make", "docker", "podman", "kubectl", "helm")
"""Blocks of these are not typed: they take long, or need a daemon or a cluster."""


@pytest.fixture
def clean_clone(tmp_path: Path) -> Path:
    """Return a clone in an empty home."""
    clone = tmp_path / "home" / "program-executor"
    shutil.copytree(ROOT, clone, ignore=LEFT_OUT)
    return clone


@pytest.fixture
def clone(clean_clone: Path) -> Path:
    """Return one that is already set up: `make` has nothing to install."""
    clone = clean_clone
    for made in (".venv", ".tools"):
        (clone / made).symlink_to(ROOT / made)
    return clone


@pytest.fixture
def variables(clean_clone: Path) -> dict[str, str]:
    """Return those of a new shell, and where packages come from on this machine."""
    path = f"{Path(sys.executable).resolve().parent}:/usr/local/bin:/usr/bin:/bin"
    given = {name: value for name, value in os.environ.items() if INDEX.match(name)}
    return given | {"HOME": str(clean_clone.parent), "PATH": path, "LANG": "C.UTF-8"}


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return where terminals and servers write."""
    logs = tmp_path / "logs"
    logs.mkdir()
    return logs


@pytest.fixture
def room(tmp_path: Path, variables: dict[str, str], logs: Path) -> Iterator[Room]:
    """Return a network in which the ports are free, and nothing of the world is there."""
    with or_skip("ports", own_network(tmp_path, *PORTS), NoNetworkError) as network:
        yield Room(network, variables, logs)


@pytest.fixture
def room_in_the_world(tmp_path: Path, variables: dict[str, str], logs: Path) -> Room:
    """Return this machine's network, where packages can be had."""
    pip = f"{ROOT}/.tools/bin/python -m pip download -q --no-deps -d {tmp_path} hatchling"
    if subprocess.run(pip.split(), env=variables, check=False).returncode:
        pytest.skip("no packages are to be had")
    try:
        return Room(the_machines(tmp_path, *PORTS), variables, logs, patience_s=900.0)
    except NoNetworkError as error:
        pytest.skip(f"ports: {error}")


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """Return the URL of a RabbitMQ, for the page's own."""
    with or_skip("RabbitMQ", some_rabbitmq(), NoRabbitError) as url:
        yield url


@pytest.fixture
def filled_in(postgresql_url: str, rabbitmq_url: str, tmp_path: Path) -> dict[str, str]:
    """Return what a reader puts in for the addresses of a page, and where no file is left."""
    return {
        '"folder": "/tmp"': f'"folder": "{tmp_path}"',
        "postgresql://user:password@host/database": postgresql_url,
        "amqp://user:password@host/": rabbitmq_url,
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "plan", [README, pytest.param(START, marks=pytest.mark.long)], ids=lambda plan: plan.page
)
def test_page_is_as_it_says_from_a_clone_in_an_empty_home(
    plan: Plan, room: Room, clone: Path, filled_in: dict[str, str]
) -> None:
    walk(plan, room, clone, filled_in)


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("plan", WHOLE, ids=lambda plan: plan.page)
def test_page_is_as_it_says_also_where_everything_has_to_be_installed(
    plan: Plan, room_in_the_world: Room, clean_clone: Path, filled_in: dict[str, str]
) -> None:
    makes = {command: word for command, word in plan.stand_ins.items() if word != INSTALLED}
    walk(replace(plan, stand_ins=makes), room_in_the_world, clean_clone, filled_in)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("plan", OTHERS, ids=lambda plan: plan.page)
def test_page_is_as_it_says_where_all_is_installed(
    plan: Plan, room: Room, clone: Path, filled_in: dict[str, str]
) -> None:
    room.variables["PATH"] = f"{ROOT / '.venv/bin'}:{room.variables['PATH']}"
    walk(plan, room, clone, filled_in)


def walk(plan: Plan, room: Room, clone: Path, filled_in: dict[str, str]) -> None:
    with room.network.reaching(*(url for url in filled_in.values() if "://" in url)):
        Walk(plan, room, clone, filled_in).take()


def test_every_block_of_commands_is_walked_or_looked_after_elsewhere() -> None:
    walked = {plan.page for plan in [*WHOLE, *OTHERS]}
    left = [
        str(block)
        for block in blocks_of_commands()
        if block.page not in walked
        and not block.text.startswith(TOOLS)
        and not any(
            block.page == page and block.text.startswith(beginning) for page, beginning in ELSEWHERE
        )
    ]
    assert left == []


def test_what_looks_after_a_block_elsewhere_is_there() -> None:
    reasons = [*ELSEWHERE.values()]
    reasons += [why for plan in [*WHOLE, *OTHERS] for why in plan.not_typed.values()]
    named = [path for why in reasons for path in re.findall(r"(?:tests|docs)/[\w/.]+", why)]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_no_block_is_passed_over() -> None:
    """One that stands further in than lists do would be seen by no test."""
    texts = {page: (ROOT / page).read_text() for page in pages()}
    assert [
        page
        for page, text in texts.items()
        if len(re.findall(r"^[ >]*```", text, re.MULTILINE)) != 2 * len(FENCE.findall(text))
    ] == []


def test_nothing_is_left_out_that_is_not_there() -> None:
    texts = [(block.page, block.text) for block in blocks_of_commands()]
    named = [*ELSEWHERE]
    named += [(plan.page, text) for plan in [*WHOLE, *OTHERS] for text in plan.not_typed]
    named += [(plan.page, text) for plan in [*WHOLE, *OTHERS] for text in plan.not_compared]
    stale = [
        each
        for each in named
        if not any(page == each[0] and text.startswith(each[1]) for page, text in texts)
    ]
    assert stale == []
