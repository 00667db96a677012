"""How a dispatch becomes a call."""

from __future__ import annotations

from svantic import Agent, Context, MeshConnector
from svantic._serving import Served, Serving, Work


def test_a_handler_that_starts_while_its_dispatch_is_cancelled_learns_of_it() -> None:
    agent = Agent(name="desk", description="A desk")

    @agent.capability
    def wait(context: Context) -> None:
        """Waits until the mesh no longer wants the answer."""

    with_token = MeshConnector(agent, svantic_url="http://127.0.0.1:9", token="a.b.c")
    serving = Serving(with_token._session.answers)
    item: Work = ("d1", "wait", {}, {"deadline_ms": 60_000, "received": 1.0})
    serving.cancel("d1")  # between the look of its thread at what is cancelled and the call
    context = serving.arguments(item, Served(agent.capabilities["wait"]))["context"]
    assert context.is_cancelled and context.wait_cancelled(0)
    assert not serving.cancelled
    serving.ended("d1")
    assert not serving.running and not serving.stopped
    with_token.close()
