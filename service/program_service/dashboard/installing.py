"""Installing: put the pages and their files into the application."""

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from program_service.api.services import Services
from program_service.dashboard import (
    bulk,
    entrance,
    failures,
    jobs,
    live,
    overview,
    program,
    programs,
    workers,
)
from program_service.dashboard.board import Board
from program_service.dashboard.pages import HERE, PREFIX


def install(app: FastAPI, services: Services) -> None:
    """Serve the dashboard; the loop `app.state.board.feed` must run meanwhile."""
    app.state.board = Board.of(services)
    app.mount(f"{PREFIX}/static", StaticFiles(directory=HERE / "static"))
    # the stream and the actions of a program before the program, whose id may be any path
    for module in (entrance, overview, bulk, live, program, programs, failures, jobs, workers):
        app.include_router(module.router)
