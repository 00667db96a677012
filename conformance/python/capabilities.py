"""The capabilities of the driver: NAME:KIND:ARGUMENT, as plain functions and as coroutine functions."""

from __future__ import annotations

import json
import time
from typing import Any, Callable

from lines import Lines

from svantic import Agent, CapabilityError, Context

PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}}}

#: The fields of a request that are only there if the mesh sent them.
OPTIONAL_FIELDS = (
    "session_id",
    "tenant_id",
    "traceparent",
    "parent_trace_id",
    "parent_span_id",
    "baggage",
    "propagation_headers",
)


class NotJson:
    """What a handler returns in place of a text that is no JSON: in Python that cannot be returned by mistake, this can."""


def define(agent: Agent, lines: Lines, text: str, coroutines: bool) -> None:
    """Adds the capability that `text` describes."""
    name, kind, argument = text.split(":", 2)
    make = coroutine_function if coroutines else plain_function
    handler = make(lines, kind, argument)
    agent.define_capability(name=name, description=kind, parameters=PARAMETERS, handler=handler)


def plain_function(lines: Lines, kind: str, argument: str) -> Callable[..., Any]:
    """A handler for the crew's threads."""

    def handle(context: Context, **args: Any) -> Any:
        lines.print_now(started(context, args))
        if kind == "sleep":
            time.sleep(int(argument) / 1000)
        if kind == "block":
            context.wait_cancelled()
        return result(kind, argument, args)

    return handle


def coroutine_function(lines: Lines, kind: str, argument: str) -> Callable[..., Any]:
    """A handler for the loop."""
    import asyncio

    async def handle(context: Context, **args: Any) -> Any:
        lines.print_now(started(context, args))
        if kind == "sleep":
            await asyncio.sleep(int(argument) / 1000)
        if kind == "block":
            await asyncio.Event().wait()
        return result(kind, argument, args)

    return handle


def started(context: Context, args: dict[str, Any]) -> dict[str, Any]:
    """The request, put together from all that a handler sees of it."""
    request: dict[str, Any] = {
        "dispatch_id": context.dispatch_id,
        "skill_id": context.capability,
        "args": args,
        "deadline_ms": context.deadline_ms,
    }
    for field in OPTIONAL_FIELDS:
        value = getattr(context, field)
        if value:
            request[field] = value
    return {"type": "start", "request": request}


def result(kind: str, argument: str, args: dict[str, Any]) -> Any:
    """What a handler of this kind returns in the end, or raises."""
    if kind == "echo":
        return args
    if kind == "sleep":
        return "slept"
    if kind == "big":
        return "x" * int(argument)
    if kind == "raw":
        try:
            return json.loads(argument)
        except ValueError:
            return NotJson()
    if kind == "fail":
        code, message = argument.split(":", 1)
        raise CapabilityError(message, code=code) if code else RuntimeError(message)
    return None
