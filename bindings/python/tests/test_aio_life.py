"""asyncio: cancelled waits, one loop after another, uvloop, and loops that do not fit."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, Any, Callable, TypeVar

import pytest
from gateway import GUARD_S, Gateway, wait_for

import svantic.aio
from svantic import Agent

if TYPE_CHECKING:
    from conftest import RunPython

T = TypeVar("T")


def new_agent(**fields: Any) -> Agent:
    agent = Agent(name="looping", description="Runs on a loop", **fields)

    @agent.capability
    async def quick(n: int) -> int:
        "Answers at once."
        return n

    @agent.capability
    def plain(n: int) -> int:
        "Answers from a thread."
        return n

    return agent


async def beside(call: Callable[..., T], *arguments: Any) -> T:
    """A call of the (synchronous) gateway while the loop runs on."""
    return await asyncio.get_running_loop().run_in_executor(None, call, *arguments)


def requested(gateway: Gateway, path: str) -> None:
    wait_for(lambda: any(request["path"] == path for request in gateway.requests()), f"a request {path}")


async def served(gateway: Gateway) -> None:
    for skill in ("quick", "plain"):
        answer = await beside(gateway.dispatch, skill, {"n": 3})
        assert answer.result == 3


async def cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, GUARD_S)
    assert task.cancelled()


def test_a_cancelled_connect_is_over_and_can_be_made_again(gateway: Gateway) -> None:
    async def main() -> None:
        mesh = svantic.aio.MeshConnector(new_agent(), **gateway.options)
        gateway.set_faults(stall="welcome")
        task = asyncio.ensure_future(mesh.connect())
        await beside(requested, gateway, "/agents/connect")
        await cancelled(task)
        gateway.set_faults()
        await asyncio.wait_for(mesh.connect(), GUARD_S)
        await served(gateway)
        await mesh.disconnect()

    asyncio.run(main())
    gateway.wait_gone()


def test_a_cancelled_create_session_is_over_and_the_next_one_is_its_own(gateway: Gateway) -> None:
    async def main() -> None:
        async with svantic.aio.MeshConnector(new_agent(), **gateway.options) as mesh:
            gateway.set_faults(stall="session_init")
            tasks = [asyncio.ensure_future(mesh.create_session()) for _ in range(3)]
            await beside(requested, gateway, "/sessions/init")
            for task in tasks:
                await cancelled(task)
            gateway.set_faults()
            session_id = await asyncio.wait_for(mesh.create_session(), GUARD_S)
            assert session_id in [session["session_id"] for session in gateway.sessions()]
            await mesh.close_session(session_id)
            await served(gateway)

    asyncio.run(main())


@pytest.mark.parametrize("operation", ["create_session", "re_register", "refresh_token"])
def test_wait_for_gives_up_on_an_operation_and_the_connector_goes_on(
    gateway: Gateway, operation: str
) -> None:
    stages = {"create_session": "session_init", "re_register": "register", "refresh_token": "token"}

    async def main() -> None:
        async with svantic.aio.MeshConnector(new_agent(), **gateway.options) as mesh:
            gateway.set_faults(stall=stages[operation])
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(getattr(mesh, operation)(), 0.05)
            gateway.set_faults()
            await asyncio.wait_for(getattr(mesh, operation)(), GUARD_S)
            await served(gateway)

    asyncio.run(main())


def test_an_operation_with_a_time_limit_of_its_own_raises_a_builtin_timeout(gateway: Gateway) -> None:
    async def main() -> None:
        async with svantic.aio.MeshConnector(new_agent(), **gateway.options) as mesh:
            gateway.set_faults(stall="session_init")
            with pytest.raises(TimeoutError) as caught:
                await mesh.create_session(timeout=0.05)
            assert isinstance(caught.value, svantic.SvanticError)
            gateway.set_faults()
            await served(gateway)

    asyncio.run(main())


def test_a_cancelled_handler_and_a_cancelled_event_wait_take_nothing_down(gateway: Gateway) -> None:
    agent, saw = new_agent(), []

    @agent.capability
    async def slow() -> None:
        "Longer than anybody waits."
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            saw.append("cancelled")
            raise

    async def first_event(mesh: svantic.aio.MeshConnector) -> None:
        async for event in mesh.events():
            if event.name == "nothing is called so":
                return

    async def main() -> None:
        async with svantic.aio.MeshConnector(agent, **gateway.options, dispatch_timeout_ms=100) as mesh:
            watching = asyncio.ensure_future(first_event(mesh))
            answer = await beside(gateway.dispatch, "slow")
            assert answer.failed
            await cancelled(watching)
            await served(gateway)
        await beside(lambda: wait_for(lambda: saw, "the cancellation in the handler"))

    asyncio.run(main())
    assert saw == ["cancelled"]


def twice(run: Callable[[Coroutine[Any, Any, None]], Any], gateway: Gateway) -> None:
    agent = new_agent()

    async def main() -> None:
        async with svantic.aio.MeshConnector(agent, **gateway.options):
            await served(gateway)

    threads = threading.active_count()
    run(main())
    gateway.wait_gone()
    run(main())
    gateway.wait_gone()
    gc.collect()
    wait_for(lambda: threading.active_count() <= threads, "the end of the connectors' threads")
    assert gateway.agent()["welcomes"] == 2


def test_asyncio_run_twice_serves_one_agent_both_times(gateway: Gateway) -> None:
    twice(asyncio.run, gateway)


def test_uvloop_serves_like_asyncio(gateway: Gateway) -> None:
    uvloop = pytest.importorskip("uvloop")

    def run(main: Coroutine[Any, Any, None]) -> None:
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(main)
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    twice(run, gateway)


def test_the_debug_mode_of_asyncio_finds_nothing_to_say(
    gateway: Gateway, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    twice(lambda main: asyncio.run(main, debug=True), gateway)
    gc.collect()
    assert [str(w.message) for w in recwarn if w.category in (RuntimeWarning, ResourceWarning)] == []
    assert [r.message for r in caplog.records if r.name == "asyncio" and "never" in r.message] == []


def test_several_connectors_share_a_loop(gateway: Gateway) -> None:
    async def main() -> None:
        meshes = [
            svantic.aio.MeshConnector(new_agent(instance_id=f"shared-{n}"), **gateway.options)
            for n in range(5)
        ]
        await asyncio.gather(*(mesh.connect() for mesh in meshes))
        asked: list[Awaitable[Any]] = [
            beside(lambda n=n: gateway.dispatch("quick", {"n": n}, instance_id=f"shared-{n % 5}"))
            for n in range(50)
        ]
        answers = await asyncio.gather(*asked)
        assert [answer.result for answer in answers] == list(range(50))
        await asyncio.gather(*(mesh.disconnect() for mesh in meshes))

    asyncio.run(main())


def test_a_connector_used_on_another_loop_says_so(gateway: Gateway) -> None:
    async def connected() -> svantic.aio.MeshConnector:
        mesh = svantic.aio.MeshConnector(new_agent(), **gateway.options)
        await mesh.connect()
        return mesh

    first = asyncio.new_event_loop()
    try:
        mesh = first.run_until_complete(connected())
        with pytest.raises(RuntimeError, match="loop"):
            asyncio.run(mesh.create_session())
        first.run_until_complete(served(gateway))
        first.run_until_complete(mesh.disconnect())
    finally:
        first.close()
    gateway.wait_gone()


def test_a_coroutine_that_never_yields_back_still_gets_its_dispatches_later(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(
        """
        import asyncio
        import svantic.aio
        from svantic import Agent

        agent = Agent(name="busy", description="Blocks its loop")

        @agent.capability
        async def quick(n: int) -> int:
            "Answers at once."
            return n

        async def main():
            async with svantic.aio.MeshConnector(agent):
                print("BLOCKED")
                input()
                await asyncio.get_running_loop().run_in_executor(None, input)

        asyncio.run(main())
        """,
        gateway=gateway,
    )
    program.wait_line("BLOCKED")
    ids = gateway.dispatch_many("quick", {"n": 2}, count=500)
    wait_for(lambda: gateway.totals()["sent"] == 500, "all dispatches on their way")
    assert gateway.answered() == 0
    program.say("")
    assert {answer.result for answer in gateway.answers(ids)} == {2}
    program.say("")
    assert program.wait() == 0, program.story()
