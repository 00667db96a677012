"""Quick and slow handlers in many patterns: every dispatch is answered once, and none waits for a slow one."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any, Callable

import pytest
from gateway import GUARD_S, Gateway, wait_for

import svantic.aio
from svantic import Agent, Context, MeshConnector

Serve = Callable[[Agent, Callable[[], None]], None]


@pytest.fixture(params=["sync", "aio"])
def serve(request: pytest.FixtureRequest, gateway: Gateway) -> Serve:
    def run(agent: Agent, check: Callable[[], None], **options: Any) -> None:
        if request.param == "sync":
            with MeshConnector(agent, **gateway.options, **options):
                check()
            return

        async def main() -> None:
            async with svantic.aio.MeshConnector(agent, **gateway.options, **options):
                await asyncio.get_running_loop().run_in_executor(None, check)

        asyncio.run(main())

    return run


def new_agent() -> Agent:
    agent = Agent(name="crew", description="Works", instance_id="crew-1")

    @agent.capability
    def quick(n: int) -> int:
        "Returns at once."
        return n

    return agent


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_pattern_of_quick_and_slow_is_answered(
    gateway: Gateway, serve: Any, workers: int, seed: int
) -> None:
    agent = new_agent()
    pauses = random.Random(seed)
    never = threading.Event()

    @agent.capability
    def mixed(context: Context) -> str:
        "Takes between nothing and 5 ms."
        never.wait(pauses.choice((0, 0, 0, 0.0005, 0.001, 0.002, 0.005)))
        return context.dispatch_id

    @agent.capability
    async def looped(context: Context) -> str:
        "The same on a loop."
        await asyncio.sleep(pauses.choice((0, 0, 0.001, 0.005)))
        return context.dispatch_id

    def check() -> None:
        ids: list[str] = []
        for _ in range(30):
            for skill in pauses.sample(["mixed", "looped", "mixed"], 3):
                ids += gateway.dispatch_many(skill, count=pauses.choice((1, 2, 7, 40)))
            if pauses.random() < 0.5:
                never.wait(0.01)
        assert [answer.result for answer in gateway.answers(ids)] == ids
        assert gateway.violations() == []

    serve(agent, check, max_workers=workers, max_pending_dispatches=100_000)


def test_a_quick_answer_leaves_while_the_next_call_of_its_thread_blocks(gateway: Gateway, serve: Any) -> None:
    agent = new_agent()
    held, go = threading.Event(), threading.Event()

    @agent.capability
    def turns(context: Context) -> str:
        "The last of a row blocks, as nobody could know."
        if context.dispatch_id.endswith("-5"):
            held.set()
            assert go.wait(GUARD_S)
        return context.dispatch_id

    def check() -> None:
        ids = gateway.dispatch_many("turns", count=5)
        try:
            assert held.wait(GUARD_S)
            answers = gateway.answers(ids[:4])
            assert [answer.result for answer in answers] == ids[:4]
            assert gateway.dispatch("quick", {"n": 1}).result == 1
        finally:
            go.set()
        assert gateway.answers(ids)[-1].result == ids[-1]

    serve(agent, check)


def test_work_behind_a_call_that_turns_out_slow_finds_another_thread(gateway: Gateway, serve: Any) -> None:
    agent = new_agent()
    go = threading.Event()

    @agent.capability
    def first_blocks(context: Context) -> str:
        "The first of a row blocks."
        if context.dispatch_id.endswith("-1"):
            assert go.wait(GUARD_S)
        return context.dispatch_id

    def check() -> None:
        ids = gateway.dispatch_many("first_blocks", count=50)
        try:
            assert [answer.result for answer in gateway.answers(ids[1:])] == ids[1:]
        finally:
            go.set()
        assert gateway.answers(ids)[0].result == ids[0]

    serve(agent, check, max_workers=2)


def test_a_full_crew_takes_up_its_queue_when_it_is_free_again(gateway: Gateway, serve: Any) -> None:
    agent = new_agent()
    go = threading.Event()
    running = threading.Semaphore(0)

    @agent.capability
    def blocks() -> bool:
        "Blocks."
        running.release()
        return go.wait(GUARD_S)

    def check() -> None:
        ids = gateway.dispatch_many("blocks", count=20)
        for _ in range(2):
            assert running.acquire(timeout=GUARD_S)
        quick = gateway.dispatch_many("quick", {"n": 1}, count=20)
        go.set()
        assert all(answer.result is True for answer in gateway.answers(ids))
        assert all(answer.result == 1 for answer in gateway.answers(quick))

    serve(agent, check, max_workers=2)


def test_an_idle_crew_keeps_no_thread_awake_and_its_books_are_right(gateway: Gateway) -> None:
    agent = new_agent()
    with MeshConnector(agent, **gateway.options, max_workers=4) as mesh:
        crew = mesh._receiver.crew
        for _ in range(20):
            gateway.answers(gateway.dispatch_many("quick", {"n": 1}, count=100))
        wait_for(lambda: crew._awake == 0 and len(crew._idle) == crew._threads, "a crew that sleeps")
        assert 1 <= crew._threads <= 4 and not crew.busy
    mesh.close()
    wait_for(lambda: crew._threads == 0, "a crew that has gone home")
