"""Submit route: the arguments of `POST /programs` and of a batch, read without FastAPI.

Its signature documents the route as any other. But solving that for each request (a body, two
dependencies and a header) costs FastAPI more than all that we do with it, and it
would check a long body in the event loop: 240,000 names of jobs take half a second.
"""

from collections.abc import Callable, Coroutine
from inspect import signature
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError

from program_service.api.auth import Scope, permitted
from program_service.api.bodies import StrictRequest, beside_the_loop

M = TypeVar("M", bound=BaseModel)


class SubmitRoute(APIRoute):
    """A route whose endpoint takes what a submit takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand the endpoint its arguments."""
        endpoint, parameters = self.endpoint, signature(self.endpoint).parameters
        model, takes_key = parameters["body"].annotation, "idempotency_key" in parameters

        async def submit(request: Request) -> Response:
            caller = await permitted(request, Scope.SUBMIT)  # before the body, as in KeyedRoute
            key = {"idempotency_key": request.headers.get("idempotency-key")} if takes_key else {}
            response: Response = await endpoint(
                body=await _body(StrictRequest(request.scope, request.receive), model),
                services=request.app.state.services,
                caller=caller,
                request=request,
                **key,
            )
            return response

        return submit


async def _body(request: StrictRequest, model: type[M]) -> M:
    """Read and check the body.

    Raises:
        Problem: it is no JSON, or holds what cannot be kept.
        RequestValidationError: it is no program.
    """
    if not (body := await request.body()):
        raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": ""}])
    value = await request.json()
    return await beside_the_loop(body, _checked, model, value)


def _checked(model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value, from_attributes=True)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in found]
        ) from error
