"""Many dispatches, many threads, failing handlers, broken links: each dispatch runs once, is answered once.

``SVANTIC_TEST_DISPATCHES`` (10000) is how many come at once.
"""

from __future__ import annotations

import functools
import itertools
import os
import sys
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Callable

import pytest
from gateway import GUARD_S, Gateway, wait_for

if TYPE_CHECKING:
    from conftest import StartGateway

import svantic.aio
from svantic import Agent, CapabilityError, ConnectorState, Context, MeshConnector, SvanticError

DISPATCHES = int(os.environ.get("SVANTIC_TEST_DISPATCHES", "10000"))
ROOM: dict[str, Any] = {"max_pending_dispatches": 1_000_000, "dispatch_timeout_ms": 600_000}


def new_agent(**fields: Any) -> Agent:
    return Agent(name="loaded", description="Does what it is asked", **fields)


def check_once(gateway: Gateway, ids: list[str], runs: Counter[str] | None = None) -> None:
    """Each was answered, and by one answer only (or by the same bytes again); each ran once."""
    entries = {entry["id"]: entry for entry in gateway.ledger()}
    wrong = [i for i in ids if not entries[i]["copies"] or not entries[i]["all_identical"]]
    assert not wrong, f"{len(wrong)} of {len(ids)}: {entries[wrong[0]]}"
    assert gateway.violations() == []
    if runs is not None:
        assert set(runs) == set(ids)
        assert max(runs.values()) == 1


def counting_agent() -> tuple[Agent, Counter[str]]:
    agent, runs = new_agent(), Counter[str]()
    lock = threading.Lock()

    def count(context: Context) -> str:
        with lock:
            runs[context.dispatch_id] += 1
        return context.dispatch_id

    @agent.capability
    def in_a_thread(context: Context) -> str:
        "Says which dispatch it is."
        return count(context)

    @agent.capability(inline=True)
    def at_once(context: Context) -> str:
        "The same on the receiving thread."
        return count(context)

    @agent.capability
    async def on_a_loop(context: Context) -> str:
        "The same on a loop."
        return count(context)

    return agent, runs


@pytest.mark.parametrize(
    ("skill", "count"),
    [("in_a_thread", DISPATCHES), ("at_once", DISPATCHES // 5), ("on_a_loop", DISPATCHES // 5)],
)
def test_ten_thousand_dispatches_at_once_are_answered_once_each(
    gateway: Gateway, skill: str, count: int
) -> None:
    agent, runs = counting_agent()
    with MeshConnector(agent, **gateway.options, **ROOM):
        ids = gateway.dispatch_many(skill, count=count)
        answers = gateway.answers(ids, GUARD_S + count / 100)
    assert [answer.result for answer in answers] == ids
    check_once(gateway, ids, runs)
    assert all(entry["copies"] == 1 for entry in gateway.ledger())


@pytest.mark.parametrize(
    ("skill", "count"),
    [("in_a_thread", DISPATCHES // 5), ("at_once", DISPATCHES // 5), ("on_a_loop", DISPATCHES)],
)
def test_ten_thousand_dispatches_at_once_on_a_loop_are_answered_once_each(
    gateway: Gateway, skill: str, count: int
) -> None:
    import asyncio

    agent, runs = counting_agent()

    async def serve() -> list[str]:
        async with svantic.aio.MeshConnector(agent, **gateway.options, **ROOM):
            ids = gateway.dispatch_many(skill, count=count)
            loop = asyncio.get_running_loop()
            answers = await loop.run_in_executor(None, gateway.answers, ids, GUARD_S + count / 100)
            assert [answer.result for answer in answers] == ids
            return ids

    ids = asyncio.run(serve())
    check_once(gateway, ids, runs)


@pytest.mark.parametrize("skill", ["in_a_thread", "on_a_loop"])
def test_connections_that_break_all_the_time_lose_no_answer_and_run_nothing_twice(
    start_gateway: StartGateway, skill: str
) -> None:
    gateway = start_gateway()
    agent, runs = counting_agent()
    count = DISPATCHES // 5
    with MeshConnector(agent, **gateway.options, **ROOM, reconnect_delays_ms=[5, 20]) as mesh:
        # Every fiftieth answer and a few of the sendings cut every connection.
        gateway.set_script(
            *({"on": "answer", "nth": number, "do": "rst"} for number in range(50, count, count // 10)),
            {"at": 0, "do": {"dispatch": {"skill_id": skill, "args": {}, "id": "cut", "count": count}}},
        )
        ids = [f"cut-{number}" for number in range(1, count + 1)]
        assert [answer.result for answer in gateway.answers(ids, GUARD_S * 2)] == ids
        broken = gateway.agent(mesh.instance_id)["connections"] - 1
    check_once(gateway, ids, runs)
    assert broken >= 1
    print(f"{skill}: {count} dispatches over {broken + 1} connections, each run once")


def test_a_killed_gateway_is_found_again_and_served(gateway: Gateway) -> None:
    agent, _ = counting_agent()
    with MeshConnector(agent, **gateway.options, **ROOM, reconnect_delays_ms=[5, 20]) as mesh:
        for _ in range(3):
            gateway.dispatch_many("in_a_thread", count=50)
            gateway.kill()
            wait_for(lambda: mesh.state == ConnectorState.reconnecting, "the end of the connection")
            gateway.start()
            # By itself the agent registers once a minute at most, so as not to be one of a thousand.
            mesh.re_register()
            gateway.wait_ready(mesh.instance_id)
            answer = gateway.dispatch("in_a_thread")
            assert answer.result == answer.dispatch_id
        assert mesh.connected


def test_disconnect_waits_for_what_is_running_and_lets_its_answer_out(gateway: Gateway) -> None:
    agent, started, go_on = new_agent(), threading.Semaphore(0), threading.Event()

    @agent.capability
    def work(n: int) -> int:
        "Works until it may stop."
        started.release()
        assert go_on.wait(GUARD_S)
        return n

    with MeshConnector(agent, **gateway.options) as mesh:
        ids = gateway.dispatch_many("work", {"n": 4}, count=4)
        for _ in ids:
            assert started.acquire(timeout=GUARD_S)
        ending = threading.Thread(target=mesh.disconnect)
        ending.start()
        wait_for(lambda: "draining" in gateway.statuses(), "the status draining")
        assert ending.is_alive()
        go_on.set()
        ending.join(GUARD_S)
        assert not ending.is_alive()
    assert [answer.result for answer in gateway.answers(ids)] == [4] * 4
    gateway.wait_gone()


def test_disconnect_and_close_from_a_handler_hang_nothing(gateway: Gateway) -> None:
    agent = new_agent()
    outcomes: list[str] = []

    @agent.capability
    def end(how: str) -> str:
        "Ends its own connector."
        try:
            getattr(mesh, how)()
            outcomes.append("done")
        except SvanticError as error:
            outcomes.append(error.code)
        return how

    mesh = MeshConnector(agent, **gateway.options, drain_timeout_ms=500)
    mesh.connect()
    gateway.dispatch("end", {"how": "disconnect"})
    wait_for(lambda: outcomes, "the handler's outcome")
    mesh.wait_closed(GUARD_S)
    mesh.close()
    gateway.wait_gone()


class Aborted(BaseException):
    """Not an Exception: what a careless `except Exception` lets through."""


FAILURES: dict[str, BaseException] = {
    "exception": ValueError("no such order"),
    "declared": CapabilityError("out of stock"),
    "base": Aborted("torn down"),
    "generator_exit": GeneratorExit("closed"),
    "without_text": RuntimeError(),
    "recursion": RecursionError("too deep"),
    "memory": MemoryError("none left"),
    "stop": StopIteration("over"),
}


# What is no Exception is answered, and then ends its thread as it would without the package.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", ["in_a_thread", "at_once", "on_a_loop"])
@pytest.mark.parametrize("face", ["sync", "aio"])
def test_every_kind_of_failure_is_answered_and_the_next_dispatch_is_served(
    gateway: Gateway, kind: str, face: str
) -> None:
    import asyncio

    agent = new_agent()

    def fail(how: str) -> str:
        if how in FAILURES:
            raise FAILURES[how]
        return how

    async def fail_on_a_loop(how: str) -> str:
        return fail(how)

    agent.define_capability(
        name="fail",
        description="Fails as asked",
        handler=fail_on_a_loop if kind == "on_a_loop" else fail,
        inline=kind == "at_once",
    )

    def check() -> None:
        for how, failure in FAILURES.items():
            answer = gateway.dispatch("fail", {"how": how})
            assert answer.code == "HANDLER_ERROR", (how, answer)
            # A coroutine cannot let a StopIteration out: the interpreter makes another error of it.
            if not (kind == "on_a_loop" and how == "stop"):
                assert answer.message is not None
                assert answer.message.endswith(str(failure) or type(failure).__name__), answer
            assert gateway.dispatch("fail", {"how": "fine"}).result == "fine"

    async def serve() -> None:
        async with svantic.aio.MeshConnector(agent, **gateway.options):
            await asyncio.get_running_loop().run_in_executor(None, check)

    if face == "aio":
        asyncio.run(serve())
    else:
        with MeshConnector(agent, **gateway.options):
            check()


def test_many_threads_call_everything_at_once_and_only_get_answers_or_svantic_errors(
    gateway: Gateway,
) -> None:
    agent, _ = counting_agent()
    failures: list[Exception] = []
    seen: list[str] = []
    names = itertools.count(1)
    rounds = 30

    def teach(name: str) -> None:
        agent.define_capability(name=name, description="New", handler=lambda: 1)

    def read(mesh: MeshConnector) -> None:
        for event in mesh.events():
            seen.append(event.name)

    def calls(mesh: MeshConnector, number: int) -> None:
        for turn in range(rounds):
            new_name = f"c{next(names)}"
            calls_of_a_turn: list[Callable[[], object]] = [
                lambda: mesh.close_session(mesh.create_session()),
                mesh.re_register,
                mesh.refresh_token,
                lambda: (mesh.connected, mesh.state, mesh.stats, mesh.health, mesh.token, mesh.snapshot()),
                lambda: mesh.on_event(lambda event: None)(),
                functools.partial(teach, new_name),
                mesh.network_changed,
                lambda: repr(mesh),
            ]
            try:
                calls_of_a_turn[(turn + number) % len(calls_of_a_turn)]()
            except SvanticError:
                pass
            except Exception as error:
                failures.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with MeshConnector(agent, **gateway.options, **ROOM) as mesh:
            readers = [threading.Thread(target=read, args=(mesh,), daemon=True) for _ in range(4)]
            for reader in readers:
                reader.start()
            ids = gateway.dispatch_many("in_a_thread", count=1000)
            threads = [
                threading.Thread(target=calls, args=(mesh, number), daemon=True) for number in range(12)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(GUARD_S)
                assert not thread.is_alive()
            assert [answer.result for answer in gateway.answers(ids)] == ids
            # Closing while others call.
            threads = [
                threading.Thread(target=calls, args=(mesh, number), daemon=True) for number in range(6)
            ]
            for thread in threads:
                thread.start()
            mesh.close()
            for thread in threads + readers:
                thread.join(GUARD_S)
                assert not thread.is_alive()
    finally:
        sys.setswitchinterval(before)
    assert failures == []
    assert seen.count("registered") >= len(readers)
    check_once(gateway, ids)
