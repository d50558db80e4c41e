"""Composing: options that many commands have are said once, and given to each as one value."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

R = TypeVar("R")


def takes(**providers: Callable[..., Any]) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Fill parameters of a command with what providers make of their own options.

    `@takes(service=chosen_service)` puts the options of `chosen_service` in the place of the
    command's parameter `service`.
    """

    def decorate(command: Callable[..., R]) -> Callable[..., R]:
        options = {
            name: inspect.signature(provider).parameters for name, provider in providers.items()
        }
        own = inspect.signature(command)
        kept = [each for each in own.parameters.values() if each.name not in providers]
        added = [each for those in options.values() for each in those.values()]

        @wraps(command)
        def composed(**given: Any) -> R:
            for name, provider in providers.items():
                given[name] = provider(**_taken(given, options[name]))
            return command(**given)

        parameters = sorted([*kept, *added], key=lambda each: each.kind)
        composed.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        composed.__annotations__ = {each.name: each.annotation for each in parameters}
        return composed

    return decorate


def _taken(given: dict[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given.pop(name) for name in names}
