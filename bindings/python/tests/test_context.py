"""What a handler is told about its call, from a real dispatch on each face."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gateway import Gateway

import svantic.aio
from svantic import Agent, Context, MeshConnector

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CALL: dict[str, Any] = {
    "id": "d-17",
    "session_context": {"session_id": "s1", "tenant_id": "t1"},
    "traceparent": f"00-{TRACE}-{SPAN}-01",
    "baggage": "user=u1,region=eu%20west",
}


def about(context: Context) -> dict[str, Any]:
    """Every property, as JSON; what depends on the clock as what must hold."""
    names = [
        name for name, member in vars(Context).items() if isinstance(member, property) and name != "time_left"
    ]
    found = {name: getattr(context, name) for name in names}
    return {**found, "has_time": 0 < context.time_left <= context.deadline_ms / 1000}


@pytest.mark.parametrize("kind", ["plain", "inline", "coroutine"])
@pytest.mark.parametrize("face", ["synchronous", "asyncio"])
def test_a_context_has_all_that_the_mesh_sent(gateway: Gateway, face: str, kind: str) -> None:
    agent = Agent(name="desk", description="A desk")
    if kind == "coroutine":

        @agent.capability
        async def look(context: Context) -> dict[str, Any]:
            """Looks."""
            return about(context)

    else:

        @agent.capability(inline=kind == "inline")
        def look(context: Context) -> dict[str, Any]:
            """Looks."""
            return about(context)

    async def serve() -> Any:
        async with svantic.aio.MeshConnector(agent, **gateway.options) as mesh:
            assert mesh.deployment_mode == "connected"
            return await asyncio.get_running_loop().run_in_executor(None, ask)

    def ask() -> Any:
        return gateway.dispatch("look", **CALL).result

    if face == "asyncio":
        told = asyncio.run(serve())
    else:
        with MeshConnector(agent, **gateway.options) as mesh:
            assert mesh.deployment_mode == "connected"
            told = ask()
    headers = told.pop("propagation_headers")
    assert told == {
        "dispatch_id": "d-17",
        "capability": "look",
        "skill_id": "look",
        "session_id": "s1",
        "tenant_id": "t1",
        "traceparent": f"00-{TRACE}-{SPAN}-01",
        "parent_trace_id": TRACE,
        "parent_span_id": SPAN,
        "baggage": {"user": "u1", "region": "eu west"},
        "deadline_ms": 60_000,
        "is_cancelled": False,
        "has_time": True,
    }
    assert headers["traceparent"] == f"00-{TRACE}-{SPAN}-01"
