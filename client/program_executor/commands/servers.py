"""Commands that run servers: dev, serve, work, migrate."""

from pathlib import Path
from typing import Annotated, Any

import typer

from program_executor.commands.printing import echo

MAX_SHOWN = 20

Jobs = Annotated[
    list[str] | None,
    typer.Argument(help="Modules with jobs, such as shop.jobs.", show_default=False),
]
Host = Annotated[str | None, typer.Option(help="The address to listen on.")]
Port = Annotated[int | None, typer.Option(help="The port to listen on.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(dev)
    app.command()(serve)
    app.command()(work)
    app.command()(migrate)
    app.command()(adopt)


def dev(
    jobs: Jobs = None,
    *,
    data: Annotated[Path, typer.Option(help="Where the SQLite file is kept.")] = Path(
        "program-executor-data"
    ),
    demo: Annotated[bool, typer.Option("--demo", help="Run a program and show it.")] = False,
    exit_: Annotated[bool, typer.Option("--exit", help="Stop after the demo.")] = False,
    host: Host = None,
    port: Port = None,
) -> None:
    """Run everything in one process: the API and a worker on a SQLite file, without a broker."""
    from program_executor.dev import DevOptions, run_dev
    from program_executor.ending import logged_end
    from program_service.settings import LogFormat

    options = DevOptions(data=data, is_demo=demo, exits=exit_)
    with logged_end("dev", usual_format=LogFormat.PRETTY) as ending:
        run_dev(_settings(jobs=jobs or None, host=host, port=port), options, ending)
    raise typer.Exit(ending.code)


def serve(*, host: Host = None, port: Port = None) -> None:
    """Serve the API; needs PROGRAM_EXECUTOR_DATABASE_URL and PROGRAM_EXECUTOR_AMQP_URL."""
    from program_executor.ending import logged_end
    from program_executor.serve import run_serve

    with logged_end("serve") as ending:
        run_serve(_settings(host=host, port=port), ending)
    raise typer.Exit(ending.code)


def work(
    jobs: Jobs = None,
    *,
    queues: Annotated[str | None, typer.Option(help="Queues to serve, by commas.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Programs at a time.")] = None,
    port: Annotated[int | None, typer.Option(help="The port of the probes and metrics.")] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Worker processes; each takes the next port.")
    ] = 1,
    is_child: Annotated[bool, typer.Option("--child", hidden=True)] = False,
) -> None:
    """Run the jobs of these modules, and call endpoints; needs the same two settings as serve."""
    from program_executor.ending import logged_end
    from program_executor.fleet import run_fleet
    from program_executor.work import run_work

    named = {"jobs": jobs or None, "queues": queues, "concurrency": concurrency}
    if processes == 1:
        with logged_end("work") as ending:
            run_work(_settings(**named, worker_port=port), ending, is_child=is_child)
        raise typer.Exit(ending.code)
    options = {"--queues": queues, "--concurrency": concurrency}
    given = [part for name, value in options.items() if value for part in (name, str(value))]
    with logged_end("fleet") as ending:
        settings = _settings(**named, worker_port=port)
        run_fleet(settings, [*(jobs or []), *given], ending, processes=processes)
    raise typer.Exit(ending.code)


def migrate() -> None:
    """Bring the tables up to date; `serve` and `dev` do it when they start."""
    from program_executor.processes import connect_database, run, set_up_logs
    from program_service.bookkeeping.errors import DatabaseUnavailable
    from program_service.bookkeeping.migrations import migrate as bring_up_to_date

    settings = _settings()
    set_up_logs(settings)

    async def bring() -> None:
        database = connect_database(settings)
        try:
            await bring_up_to_date(database)
        except DatabaseUnavailable as error:
            message = f"The tables could not be changed: {error}"
            raise type(error)(message) from error
        finally:
            await database.close()

    run(bring())
    echo(f"The tables of {settings.table_name!r} are up to date.")


def adopt(
    *,
    table: Annotated[str | None, typer.Option(help="The table; TABLE_NAME when not given.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    set_aside: Annotated[
        bool,
        typer.Option("--set-aside", help="End with an error what no worker could run."),
    ] = False,
) -> None:
    """Take over the table of the Node library, in place; stop its workers before."""
    from program_executor.processes import connect_database, run, set_up_logs
    from program_service.bookkeeping.migrations.adoption import Flawed, Plan, plan_adoption
    from program_service.bookkeeping.migrations.adoption import adopt as take_over

    settings = _settings(table_name=table)
    set_up_logs(settings)
    flawed = Flawed.SET_ASIDE if set_aside else Flawed.REFUSED

    async def look_or_adopt() -> Plan:
        database = connect_database(settings)
        try:
            return await (plan_adoption if dry_run else take_over)(database, flawed=flawed)
        finally:
            await database.close()

    plan: Plan = run(look_or_adopt())
    echo(f"Table {settings.table_name!r}, {plan.rows:,} rows:")
    for change in plan.changes:
        echo(f"  {change}")
    count = len(plan.unfinished)
    echo(f"{count:,} unfinished programs {'would' if dry_run else 'will'} go on:")
    for program in plan.unfinished[:MAX_SHOWN]:
        at = f"step {program.step} of {len(program.jobs)}, {program.jobs[program.step]}"
        echo(f"  {program.run_id}: {at}")
    if count > MAX_SHOWN:
        echo(f"  … and {count - MAX_SHOWN:,} more")
    if plan.set_aside:
        verb = "would be" if dry_run else "are"
        echo(f"{len(plan.set_aside):,} that no worker can run {verb} errored:")
    for each in plan.set_aside:
        echo(f"  {each}")
    echo("Nothing was changed: this was a dry run." if dry_run else "The table is adopted.")


def _settings(**given: Any) -> Any:
    """Read the settings; options of the command line come first."""
    from program_executor.configuring import load_settings

    return load_settings(**given)
