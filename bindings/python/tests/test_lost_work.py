"""What goes wrong while dispatches are routed, run and answered loses none of them."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
from typing import Any

import pytest
from gateway import GUARD_S, Gateway

import svantic
import svantic.aio
from svantic import Agent, CapabilityError, MeshConnector


def new_agent() -> Agent:
    agent = Agent(name="tried", description="Is tried", instance_id="tried-1")

    @agent.capability
    def echo(n: int) -> int:
        "Gives back its argument."
        return n

    return agent


class Poison:
    """Ends whoever looks at it."""

    def __str__(self) -> str:
        raise SystemExit("poison")

    def __fspath__(self) -> str:
        raise SystemExit("poison")


class _Fspath(Poison):
    pass


@pytest.mark.parametrize("face", ["sync", "aio"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_result_that_ends_its_encoder_is_refused_and_spoils_no_other(gateway: Gateway, face: str) -> None:
    import os

    agent = new_agent()
    os.PathLike.register(_Fspath)

    @agent.capability
    def poisonous() -> Any:
        "Returns what nobody can write."
        return _Fspath()

    def check() -> None:
        ids = gateway.dispatch_many("poisonous", count=20)
        answers = gateway.answers(ids)
        assert {answer.code for answer in answers} == {"INVALID_RESULT"}
        for number in range(20):
            assert gateway.dispatch("echo", {"n": number}).result == number

    serve(agent, gateway, face, check)


def serve(agent: Agent, gateway: Gateway, face: str, check: Any, **options: Any) -> None:
    if face == "sync":
        with MeshConnector(agent, **gateway.options, **options) as mesh:
            check()
        mesh.close()
        return

    async def main() -> None:
        async with svantic.aio.MeshConnector(agent, **gateway.options, **options) as mesh:
            await asyncio.get_running_loop().run_in_executor(None, check)
        await mesh.close()

    asyncio.run(main())


class Unsayable(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


class Bare(CapabilityError):
    def __init__(self) -> None:  # without super().__init__(), as people write it
        pass


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_an_exception_that_cannot_say_what_it_is_is_answered(gateway: Gateway, face: str) -> None:
    agent = new_agent()
    failures: dict[str, BaseException] = {
        "unsayable": Unsayable(),
        "bare": Bare(),
        "wrapping": CapabilityError(ValueError("inner")),  # type: ignore[arg-type]
    }

    @agent.capability
    def plain(which: str) -> None:
        "Fails."
        raise failures[which]

    @agent.capability
    async def coroutine(which: str) -> None:
        "Fails."
        raise failures[which]

    def check() -> None:
        for skill in ("plain", "coroutine"):
            for which in failures:
                answer = gateway.dispatch(skill, {"which": which}, timeout=10)
                assert answer.code == "HANDLER_ERROR", (skill, which)
            assert "inner" in str(answer.message)
            assert gateway.dispatch("echo", {"n": 1}).result == 1

    serve(agent, gateway, face, check, max_workers=1)


def test_a_log_handler_that_fails_costs_no_answer_and_no_event(gateway: Gateway) -> None:
    agent = new_agent()

    @agent.capability
    def failing() -> None:
        "Fails."
        raise ValueError("told")

    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise RuntimeError("the log is full")

    broken = Broken()
    logger = logging.getLogger("svantic")
    logger.addFilter(broken)
    seen: list[str] = []
    try:
        mesh = MeshConnector(agent, **gateway.options, max_workers=1)
        mesh.on_event(lambda event: seen.append(event.name))
        with mesh:
            for _ in range(3):
                assert "told" in str(gateway.dispatch("failing", timeout=10).message)
        stream = mesh.events()
        assert list(stream) == []
        mesh.close()
    finally:
        logger.removeFilter(broken)
    assert "connected" in seen


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_coroutine_that_exits_ends_neither_its_loop_nor_its_batch(gateway: Gateway) -> None:
    agent = new_agent()

    @agent.capability
    async def leaves(n: int) -> int:
        "Every third exits."
        if n % 3 == 0:
            raise SystemExit("gone")
        return n

    with MeshConnector(agent, **gateway.options) as mesh:
        for number in range(6):
            answer = gateway.dispatch("leaves", {"n": number}, timeout=10)
            assert (answer.result == number) if number % 3 else ("gone" in str(answer.message))
        ids = gateway.dispatch_many("leaves", {"n": 3}, count=50)
        assert all("gone" in str(answer.message) for answer in gateway.answers(ids))
    mesh.wait_closed(GUARD_S)
    mesh.close()


def test_an_event_callback_that_exits_ends_no_other(gateway: Gateway) -> None:
    seen: list[str] = []

    def exits(event: svantic.Event) -> None:
        raise SystemExit(event.name)

    mesh = MeshConnector(new_agent(), **gateway.options)
    mesh.on_event(exits)
    connected = threading.Event()

    def notes(event: svantic.Event) -> None:
        seen.append(event.name)
        if event.name == "connected":
            connected.set()

    mesh.on_event(notes)
    with mesh:
        assert connected.wait(GUARD_S)
    mesh.close()


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_a_plain_function_that_returns_a_coroutine_is_told_what_to_do(gateway: Gateway, face: str) -> None:
    agent = new_agent()

    async def inner() -> int:
        return 1

    agent.define_capability(
        name="hidden", description="Hides a coroutine", parameters={"type": "object"}, handler=lambda: inner()
    )

    def check() -> None:
        answer = gateway.dispatch("hidden")
        assert answer.code == "INVALID_RESULT"
        assert "async def" in str(answer.message)

    serve(agent, gateway, face, check)


def test_what_waits_for_its_own_thread_is_refused(gateway: Gateway) -> None:
    agent = new_agent()
    found: dict[str, str] = {}

    def tries() -> str:
        for name in ("re_register", "create_session", "disconnect", "close", "wait_closed"):
            try:
                getattr(mesh, name)()
                found[name] = "done"
            except svantic.SvanticError as error:
                found[name] = error.code
        return "tried"

    agent.define_capability(
        name="inline", description="Waits", parameters={"type": "object"}, handler=tries, inline=True
    )

    @agent.capability
    def threaded() -> str:
        "Waits for what others take."
        mesh.close_session(mesh.create_session())
        return "waited"

    @agent.capability
    async def looped() -> str:
        "The same on the private loop."
        mesh.close_session(mesh.create_session())
        return "waited"

    mesh = MeshConnector(agent, **gateway.options)
    with mesh:
        assert gateway.dispatch("inline", timeout=20).result == "tried"
        assert set(found.values()) == {"WOULD_DEADLOCK"} and len(found) == 5
        for skill in ("threaded", "looped"):
            assert gateway.dispatch(skill, timeout=20).result == "waited"
        assert gateway.dispatch("echo", {"n": 2}).result == 2
    mesh.close()


@pytest.mark.parametrize("cls", [c for c in vars(svantic).values() if isinstance(c, type)])
def test_every_error_has_a_status_and_a_code_and_can_be_copied(cls: Any) -> None:
    if not issubclass(cls, svantic.SvanticError):
        return
    error = cls("what failed", hint="do that", retryable=True)
    assert isinstance(error.status, int) and error.code.isupper()
    again = copy.copy(error)
    assert type(again) is cls and str(again) == str(error) and vars(again) == vars(error)
    assert error.args == ("what failed",)
