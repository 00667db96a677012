"""The asyncio connector against a real gateway."""

from __future__ import annotations

import asyncio

import pytest
from gateway import Gateway

from svantic import Agent, aio


def make_agent() -> Agent:
    agent = Agent(name="desk", description="A desk", instance_id="desk-1")

    @agent.capability
    async def at_once(n: int) -> int:
        """Awaits nothing."""
        return n

    @agent.capability
    async def later(n: int) -> int:
        """Awaits a turn of the loop."""
        await asyncio.sleep(0)
        return n

    @agent.capability
    def plain(n: int) -> int:
        """Runs on a thread."""
        return n

    return agent


def test_every_kind_of_handler_answers_on_one_loop_after_another(gateway: Gateway) -> None:
    agent = make_agent()

    async def main() -> None:
        async with aio.MeshConnector(agent, **gateway.options) as mesh:
            loop = asyncio.get_running_loop()
            for name in ("at_once", "later", "plain"):
                answer = await loop.run_in_executor(None, gateway.dispatch, name, {"n": 4})
                assert answer.result == 4
            await mesh.close_session(await mesh.create_session())
            names = []
            mesh.on_event(lambda event: names.append(event.name))
            stream = mesh.events()
        await mesh.wait_closed()
        assert [event.name async for event in stream] == names
        assert names[-1] == "state"
        await mesh.close()

    asyncio.run(main())
    asyncio.run(main())


def test_another_loop_is_refused(gateway: Gateway) -> None:
    mesh = aio.MeshConnector(make_agent(), **gateway.options)

    async def main() -> None:
        await mesh.connect()
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(mesh.re_register()))
        await mesh.close()

    asyncio.run(main())


def test_a_cancelled_operation_raises_and_leaves_the_connector_usable(gateway: Gateway) -> None:
    async def main() -> None:
        async with aio.MeshConnector(make_agent(), **gateway.options) as mesh:
            operation = asyncio.ensure_future(mesh.re_register())
            await asyncio.sleep(0)
            operation.cancel()
            with pytest.raises(asyncio.CancelledError):
                await operation
            await mesh.re_register()
            await mesh.close()

    asyncio.run(main())
