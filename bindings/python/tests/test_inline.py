"""What an inline handler may not do: it runs on the thread that receives."""

from __future__ import annotations

from typing import Callable

import pytest
from gateway import Gateway

from svantic import Agent, MeshConnector, WouldDeadlockError

WAITS: dict[str, Callable[[MeshConnector], object]] = {
    "create_session": lambda mesh: mesh.create_session(),
    "re_register": lambda mesh: mesh.re_register(),
    "disconnect": lambda mesh: mesh.disconnect(),
    "wait_closed": lambda mesh: mesh.wait_closed(),
    "close": lambda mesh: mesh.close(),
}


@pytest.mark.parametrize("name", list(WAITS))
def test_an_inline_handler_that_waits_for_the_connector_is_refused_instead_of_hanging(
    name: str, gateway: Gateway
) -> None:
    agent = Agent(name="tested", description="Waits where nothing can come")

    @agent.capability(inline=True)
    def wait() -> str:
        """Waits."""
        try:
            WAITS[name](mesh)
        except WouldDeadlockError as error:
            return error.code
        return "waited"

    mesh = MeshConnector(agent, **gateway.options)
    with mesh:
        assert gateway.dispatch("wait").result == "WOULD_DEADLOCK"
        assert mesh.connected
