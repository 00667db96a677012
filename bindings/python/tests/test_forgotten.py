"""Connectors that nobody closes: the handle goes, nothing hangs, and the warning may be an error."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import threading
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import pytest
from gateway import GUARD_S, Gateway, wait_for

import svantic
import svantic.aio
from svantic import Agent, MeshConnector
from svantic._mesh import NOTHING, Batch, Mesh


def new_agent() -> Agent:
    return Agent(name="forgotten", description="Is forgotten", instance_id="forgotten-1")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0


def dropped(make: Any) -> Any:
    """The session of a connector that has been made, used and dropped."""
    mesh = make()
    session, gone = mesh._session, weakref.ref(mesh)
    del mesh
    gc.collect()
    assert gone() is None, "something holds the connector"
    return session


@pytest.mark.parametrize("action", ["always", "error"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_forgotten_connector_leaves_the_mesh_even_where_the_warning_is_an_error(
    gateway: Gateway, action: Any
) -> None:
    def make() -> MeshConnector:
        mesh = MeshConnector(new_agent(), **gateway.options)
        mesh.connect()
        return mesh

    with warnings.catch_warnings(record=True):
        warnings.simplefilter(action)
        session = dropped(make)
    gateway.wait_gone()
    wait_for(lambda: session.mesh.handle is None, "the freed handle")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_connector_whose_failure_was_raised_is_collected(gateway: Gateway) -> None:
    def make() -> MeshConnector:
        mesh = MeshConnector(new_agent(), **gateway.options, auto_reconnect=False)
        mesh.connect()
        gateway.close("forgotten-1", 4003)
        with pytest.raises(svantic.NetworkError):
            mesh.wait_closed(GUARD_S)
        return mesh

    session = dropped(make)
    wait_for(lambda: session.mesh.handle is None, "the freed handle")


def test_a_connector_that_never_got_through_gives_its_descriptor_back(gateway: Gateway) -> None:
    async def main() -> None:
        mesh = svantic.aio.MeshConnector(new_agent(), **{**gateway.options, "client_secret": "wrong" * 8})
        with pytest.raises(svantic.AuthError):
            await mesh.connect(timeout=GUARD_S)

    asyncio.run(main())
    gc.collect()
    before = descriptors()
    for _ in range(5):
        asyncio.run(main())
        gc.collect()
    wait_for(lambda: descriptors() <= before, "descriptors that are given back", guard=20)


def test_an_idle_connector_that_is_forgotten_ends_its_thread(gateway: Gateway) -> None:
    def make() -> MeshConnector:
        gateway.set_faults(stall="token")
        mesh = MeshConnector(new_agent(), **gateway.options, fail_fast=True)
        with pytest.raises(svantic.SvanticError):
            mesh.connect(timeout=0.05)
        assert mesh.state.name == "idle"
        return mesh

    session = dropped(make)
    wait_for(lambda: session.ended and session.mesh.handle is None, "the end of the thread and the handle")
    gateway.set_faults()


def test_a_receiving_thread_that_cannot_be_started_is_tried_again(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh = MeshConnector(new_agent(), **gateway.options)

    def no_thread(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="start new thread"):
            mesh.connect(timeout=GUARD_S)
    done = threading.Event()

    def connect() -> None:
        mesh.connect(timeout=GUARD_S)
        done.set()

    threading.Thread(target=connect, daemon=True).start()
    assert done.wait(GUARD_S)
    mesh.close()


def test_threads_that_cannot_be_started_delay_dispatches_and_lose_none(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = new_agent()

    @agent.capability
    def plain(n: int) -> int:
        "On a thread."
        return n

    @agent.capability
    async def coroutine(n: int) -> int:
        "On a loop."
        return n

    refused = threading.Semaphore(0)
    original = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if thread.name.startswith("svantic"):
            refused.release()
            raise RuntimeError("can't start new thread")
        original(thread)

    with MeshConnector(agent, **gateway.options) as mesh:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_thread)
            late = gateway.dispatch_many("plain", {"n": 1}, count=3)
            assert refused.acquire(timeout=GUARD_S)
            answer = gateway.dispatch("coroutine", {"n": 2})
            assert answer.code == "HANDLER_ERROR" and "thread" in str(answer.message)
        assert [answer.result for answer in gateway.answers(late)] == [1, 1, 1]
        assert gateway.dispatch("coroutine", {"n": 3}).result == 3
    mesh.close()


def test_a_close_right_behind_the_work_hands_out_the_last_events(gateway: Gateway) -> None:
    async def main() -> list[str]:
        mesh = svantic.aio.MeshConnector(new_agent(), **gateway.options)
        stream = mesh.events()
        await mesh.connect()
        await mesh.close()
        return [event.name async for event in stream]

    names = asyncio.run(main())
    assert names[-1] == "state" and "disconnected" in names


def test_coroutines_may_clean_up_when_the_connector_ends(gateway: Gateway) -> None:
    agent = new_agent()
    started, cleaned = threading.Event(), threading.Event()

    @agent.capability
    async def lasting() -> None:
        "Lasts until the end, and takes a while to leave."
        started.set()
        try:
            await asyncio.sleep(GUARD_S)
        finally:
            await asyncio.sleep(0.01)
            cleaned.set()

    with MeshConnector(agent, **gateway.options) as mesh:
        gateway.dispatch_many("lasting", count=1)
        assert started.wait(GUARD_S)
        mesh.disconnect(timeout=0.001)
    mesh.close()
    assert cleaned.wait(GUARD_S)


def test_a_task_cancelled_before_its_first_step_leaves_nothing_behind(gateway: Gateway) -> None:
    """On interpreters without eager tasks such a task never runs a line."""
    agent = new_agent()

    @agent.capability
    async def never() -> None:
        "Is cancelled at once."
        await asyncio.sleep(GUARD_S)

    async def main() -> None:
        async with svantic.aio.MeshConnector(agent, **gateway.options) as mesh:
            receiver, serving = mesh._receiver, mesh._session.serving
            coroutines = receiver._coroutines
            assert coroutines is not None
            coroutines.start([("d-1", "never", {}, None)])
            serving.cancel("d-1")
            deadline = time.monotonic() + GUARD_S
            while (coroutines._tasks or serving.running or serving.stopped) and time.monotonic() < deadline:
                await asyncio.sleep(0.001)
            assert not coroutines._tasks and not serving.running and not serving.stopped

    asyncio.run(main())


def test_dispatches_that_are_cancelled_for_ever_take_no_memory(gateway: Gateway) -> None:
    with MeshConnector(new_agent(), **gateway.options) as mesh:
        serving = mesh._session.serving
        for number in range(100_000):
            serving.cancel(f"d-{number}")
        assert len(serving.cancelled) < 10_000
        mesh.close()


def test_arguments_that_look_like_the_end_do_not_end_what_takes_the_rest(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = new_agent()
    agent.define_capability(name="look", description="Looks.", handler=lambda **args: args)

    async def connected() -> svantic.aio.MeshConnector:
        mesh = svantic.aio.MeshConnector(agent, **gateway.options)
        await mesh.connect()
        return mesh

    mesh = asyncio.run(connected())  # its loop closes under it
    session = mesh._session
    taken: list[Batch] = []
    next_batch = Mesh.next_batch

    def noted(self: Mesh, timeout_ms: int) -> Batch | None:
        batch = next_batch(self, timeout_ms)
        taken.append(batch or NOTHING)
        return batch

    monkeypatch.setattr(Mesh, "next_batch", noted)
    rest = threading.Thread(target=mesh._receiver._take_rest)
    rest.start()

    def have_come(count: int) -> bool:
        return session.ended or sum(items.count(b'"look"') for items, *_ in taken) == count

    for count in (1, 2):
        gateway.dispatch_many("look", {"type": "closed"}, count=1)
        wait_for(functools.partial(have_come, count), "the next dispatch")
    assert not session.ended
    session.mesh.free()
    rest.join(GUARD_S)
    assert session.ended
