"""Methods: what a path takes, for `Allow` of a 405; Starlette names those of one route alone."""

from functools import cache
from re import Pattern

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.routing import compile_path

from program_service.names import ACTION


class JobConvertor(StringConvertor):
    """A job's name in a path: any, with slashes too, but not what ends in an action."""

    regex = rf"(?!.*{ACTION}$).*"


class RunConvertor(StringConvertor):
    """A run_id in a path that may be followed by nothing: any, but not what is an action."""

    regex = "(?!batch$)[^/]+"


register_url_convertor("job", JobConvertor())
register_url_convertor("run", RunConvertor())


def allowed(app: FastAPI, path: str) -> str:
    """Return the methods that a path takes, as `Allow` lists them."""
    found = {
        method
        for route in iter_route_contexts(app.routes)
        if route.path is not None and _pattern(route.path).match(path)
        for method in route.methods or ()
    }
    return ", ".join(sorted(found))


@cache
def _pattern(path: str) -> Pattern[str]:
    return compile_path(path)[0]
