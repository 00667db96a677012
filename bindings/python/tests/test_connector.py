"""The synchronous connector against a real gateway."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from gateway import Gateway, wait_for

import svantic.aio
from svantic import Agent, CapabilityError, Context, MeshConnector
from svantic._event_lines import is_told

GUARD_S = 60


@pytest.fixture
def agent() -> Agent:
    agent = Agent(name="desk", description="A desk", instance_id="desk-1")

    @agent.capability
    def echo(**args: Any) -> dict[str, Any]:
        """Gives back its arguments."""
        return args

    return agent


@pytest.fixture
def options(gateway: Gateway) -> dict[str, Any]:
    return gateway.options


def test_an_operation_right_behind_the_end_is_told_that_it_is_the_end(agent: Agent) -> None:
    # Again and again: the last item may or may not have been taken by then.
    for _ in range(100):
        mesh = MeshConnector(agent, client_id="none", client_secret="none")
        mesh.disconnect()
        with pytest.raises(svantic.InvalidStateError):
            mesh.disconnect()
        mesh.close()


def test_a_dispatch_is_answered_and_a_disconnect_is_final(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    with MeshConnector(agent, **options) as mesh:
        assert mesh.connected and mesh.state is svantic.ConnectorState.connected
        assert mesh.ws_transport.state == "ready" and mesh.health.ready
        assert mesh.instance_id == "desk-1"
        assert gateway.dispatch("echo", {"n": 1}).result == {"n": 1}
        assert mesh.stats["answered"] == 1
    assert mesh.state.name == "closed"
    with pytest.raises(svantic.InvalidStateError):
        mesh.disconnect()
    mesh.close()
    mesh.close()
    assert not mesh.connected and mesh.state.name == "closed"
    with pytest.raises(svantic.ClosedError):
        mesh.snapshot()


def test_a_result_that_is_not_json_names_the_capability_and_spoils_no_other(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    agent.define_capability(
        name="odd", description="Odd", handler=lambda: object(), parameters={"type": "object"}
    )
    with MeshConnector(agent, **options) as mesh:
        odd = gateway.dispatch("odd", {})
        assert odd.code == "INVALID_RESULT" and "odd" in odd.message and "object" in odd.message
        assert gateway.dispatch("echo", {}).result == {}
        mesh.close()


def test_redaction_keeps_the_words_of_a_declared_error_only(
    agent: Agent, gateway: Gateway, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    @agent.capability
    def declared() -> None:
        """Fails in words meant for the caller."""
        raise CapabilityError("no such order")

    @agent.capability
    def coded() -> None:
        """Fails with a code."""
        raise CapabilityError("come back later", "BUSY")

    @agent.capability
    def undeclared() -> None:
        """Fails by accident."""
        raise RuntimeError("canary")

    with (
        MeshConnector(agent, redact_handler_errors=True, **options) as mesh,
        caplog.at_level(logging.INFO, "svantic"),
    ):
        answer = gateway.dispatch("declared", {})
        assert (answer.code, answer.message) == (
            "HANDLER_ERROR",
            'capability "declared" failed: no such order',
        )
        answer = gateway.dispatch("coded", {})
        assert (answer.code, answer.message) == ("BUSY", "come back later")
        answer = gateway.dispatch("undeclared", {})
        assert answer.code == "HANDLER_ERROR" and "canary" not in answer.message
        mesh.close()
    error_id = answer.message.split("error id ")[1].rstrip(")")
    assert any(error_id in record.getMessage() and record.exc_info for record in caplog.records)


def test_slow_handlers_run_side_by_side_and_hold_no_quick_answer(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    together = threading.Barrier(3)

    @agent.capability
    def meet() -> int:
        """Waits for two others."""
        return together.wait(GUARD_S)

    with MeshConnector(agent, max_workers=3, **options) as mesh:
        answers: list[Any] = []
        callers = [
            threading.Thread(target=lambda: answers.append(gateway.dispatch("meet", {}))) for _ in range(3)
        ]
        for caller in callers[:2]:
            caller.start()
        assert gateway.dispatch("echo", {"n": 2}).result == {"n": 2}  # while two handlers block
        callers[2].start()
        for caller in callers:
            caller.join(GUARD_S)
        assert sorted(answer.result for answer in answers) == [0, 1, 2]
        mesh.close()


def test_a_deadline_cancels_the_context_and_ends_a_coroutine(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    plain_ended, coroutine_ended = threading.Event(), threading.Event()

    @agent.capability
    def plain(context: Context) -> None:
        """Waits to be cancelled."""
        if context.wait_cancelled(GUARD_S) and context.is_cancelled:
            plain_ended.set()

    @agent.capability
    async def coroutine(context: Context) -> None:
        """Waits for ever."""
        import asyncio

        try:
            await asyncio.sleep(GUARD_S)
        except asyncio.CancelledError:
            if context.is_cancelled:
                coroutine_ended.set()
            raise

    with MeshConnector(agent, dispatch_timeout_ms=100, **options) as mesh:
        assert "100 ms" in gateway.dispatch("plain", {}).message
        assert "100 ms" in gateway.dispatch("coroutine", {}).message
        assert plain_ended.wait(GUARD_S) and coroutine_ended.wait(GUARD_S)
        mesh.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_a_thread_is_answered_and_work_goes_on(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    threads: list[threading.Thread] = []
    for name, inline in (("leaves", False), ("leaves_inline", True)):

        @agent.capability(name=name, inline=inline)
        def leaves() -> None:
            """Ends its thread."""
            threads.append(threading.current_thread())
            raise SystemExit("gone")

    with MeshConnector(agent, max_workers=1, **options) as mesh:
        for name in ("leaves", "leaves_inline", "leaves"):
            assert "gone" in gateway.dispatch(name, {}).message
            assert gateway.dispatch("echo", {"n": 3}).result == {"n": 3}
        mesh.close()
    for thread in threads:  # or pytest tells the next test of their ends
        thread.join(GUARD_S)
        assert not thread.is_alive()


def test_a_capability_defined_while_connected_is_announced_by_re_register(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    with MeshConnector(agent, **options) as mesh:
        agent.define_capability(
            name="late", description="Late", handler=lambda: 7, parameters={"type": "object"}
        )
        mesh.re_register()
        assert gateway.dispatch("late", {}).result == 7
        mesh.close()


def test_events_come_in_order_to_callbacks_and_streams_and_end_with_the_connector(
    agent: Agent, options: dict[str, Any]
) -> None:
    mesh = MeshConnector(agent, **options)
    seen: list[str] = []

    def fails(event: svantic.Event) -> None:
        raise RuntimeError(event.name)

    mesh.on_event(fails)
    unsubscribe = mesh.on_event(lambda event: seen.append(event.name))
    mesh.on_event(lambda event: unsubscribe() if event.name == "connected" else None)
    stream = mesh.events()
    with mesh:
        pass
    names = [event.name for event in stream]
    assert names[0] == "state" and names[-1] == "state" and "connected" in names and "disconnected" in names
    assert seen == names[: names.index("connected") + 1]
    mesh.close()


def test_a_final_refusal_is_raised_by_wait_closed(
    agent: Agent, gateway: Gateway, options: dict[str, Any]
) -> None:
    with MeshConnector(agent, auto_reconnect=False, **options) as mesh:
        gateway.close("desk-1", 4003)
        with pytest.raises(svantic.NetworkError):
            mesh.wait_closed(GUARD_S)
        assert mesh.state.name == "failed"
    mesh.close()


@pytest.mark.parametrize("face", ["synchronous", "asyncio"])
def test_an_outage_and_its_end_are_in_the_log_of_a_program_that_watches_no_events(
    agent: Agent, gateway: Gateway, options: dict[str, Any], caplog: pytest.LogCaptureFixture, face: str
) -> None:
    def lose_the_connection() -> None:
        instance = gateway.wait_ready()["instance_id"]
        gateway.abort(instance)
        gateway.wait_ready(instance, welcomes=2)

    def lines() -> list[tuple[str, str]]:
        return [(record.levelname, record.getMessage()) for record in caplog.records]

    def told() -> bool:
        return any("connection 2 to the mesh is open" in text for _, text in lines())

    async def serve() -> None:
        async with svantic.aio.MeshConnector(agent, **options, reconnect_delays_ms=[10]):
            await asyncio.to_thread(lose_the_connection)
            await asyncio.to_thread(wait_for, told, "the line about the new connection")

    with caplog.at_level(logging.INFO, "svantic"):
        if face == "asyncio":
            asyncio.run(serve())
        else:
            with MeshConnector(agent, **options, reconnect_delays_ms=[10]):
                lose_the_connection()
                wait_for(told, "the line about the new connection")
    assert ("INFO", "agent desk: connection 1 to the mesh is open") in lines()
    (lost,) = [text for level, text in lines() if level == "WARNING"]
    assert lost.startswith("agent desk: ") and "attempt 2 follows in 0.0 s" in lost


def test_events_of_single_calls_bring_no_lines_of_which_an_overload_would_bring_thousands() -> None:
    fields = {"dispatch_id": "d", "reason": "closed", "code": "AGENT_OVERLOADED"}
    for name in ("result_dropped", "dispatch_refused", "dispatch_cancelled"):
        assert not is_told(svantic.Event(name, 0, fields))


def test_a_refusal_for_good_is_an_error_in_the_log(
    agent: Agent, gateway: Gateway, options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with MeshConnector(agent, **options) as mesh:
        instance = gateway.wait_ready()["instance_id"]
        gateway.set_faults(refuse=[{"endpoint": "connect", "status": 403, "code": "TENANT_MISMATCH"}])
        gateway.abort(instance)
        with pytest.raises(svantic.SvanticError):
            mesh.wait_closed(GUARD_S)
        wait_for(lambda: any(record.levelname == "ERROR" for record in caplog.records), "the line")
    assert "given up: " in caplog.text and "[TENANT_MISMATCH]" in caplog.text


def test_a_token_provider_issues_the_token(agent: Agent, gateway: Gateway, options: dict[str, Any]) -> None:
    given = gateway.issue_token("desk")
    with MeshConnector(agent, svantic_url=options["svantic_url"], token_provider=lambda: given) as mesh:
        assert mesh.token == given
        mesh.close()


def test_an_unknown_option_names_the_one_that_was_meant(agent: Agent) -> None:
    with pytest.raises(TypeError, match="'max_workers' was probably meant"):
        MeshConnector(agent, max_wrokers=2)  # type: ignore[call-arg]
    with pytest.raises(svantic.InvalidArgumentError):
        MeshConnector(agent, token="a.b.c", timeout_ms=1)


def test_sessions_are_opened_and_closed(agent: Agent, options: dict[str, Any]) -> None:
    with MeshConnector(agent, **options) as mesh:
        mesh.close_session(mesh.create_session({"user_id": "u1"}))
        with pytest.raises(svantic.NotFoundError) as caught:
            mesh.close_session("never-opened")
        assert caught.value.code == "SESSION_NOT_FOUND" and caught.value.http_status == 404
        mesh.close()
