"""Submit route: the arguments of `POST /programs`, read without FastAPI.

Its signature documents the route as any other. But solving that for each request (a body, two
dependencies and a header) costs FastAPI more than all that we do with it.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError

from program_service.api.auth import Scope, permitted
from program_service.api.bodies import StrictRequest
from program_service.api.schemas import ProgramRequest


class SubmitRoute(APIRoute):
    """A route whose endpoint takes what a submit takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the endpoint its arguments."""
        endpoint = self.endpoint

        async def submit(request: Request) -> Response:
            caller = permitted(request, Scope.SUBMIT)  # before the body, as in KeyedRoute
            response: Response = await endpoint(
                body=await _body(StrictRequest(request.scope, request.receive)),
                services=request.app.state.services,
                caller=caller,
                request=request,
                idempotency_key=request.headers.get("idempotency-key"),
            )
            return response

        return submit


async def _body(request: StrictRequest) -> ProgramRequest:
    """Read and check the body.

    Raises:
        Problem: it is no JSON, or holds what cannot be kept.
        RequestValidationError: it is no program.
    """
    if not await request.body():
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": ""}])
    try:
        return ProgramRequest.model_validate(await request.json(), from_attributes=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in found]
        ) from error
