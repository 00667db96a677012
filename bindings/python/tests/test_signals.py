"""Ctrl-C and SIGTERM: in every wait, once and twice, with work in flight."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from gateway import Gateway, wait_for

if TYPE_CHECKING:
    from conftest import RunPython

WAITING = """
import asyncio, sys

import svantic.aio
from svantic import Agent, MeshConnector

agent = Agent(name="waiting", description="Waits for the mesh")
way = sys.argv[1]


async def on_a_loop():
    mesh = svantic.aio.MeshConnector(agent)
    if way == "aio_connect":
        await mesh.connect()
    await mesh.connect()
    if way == "aio_create_session":
        await mesh.create_session()
    if way == "aio_wait_closed":
        print("CONNECTED")
        await mesh.wait_closed()


def in_a_thread():
    if way == "connect":
        MeshConnector(agent).connect()
    with MeshConnector(agent) as mesh:
        if way == "create_session":
            mesh.create_session()
        if way == "wait_closed":
            print("CONNECTED")
            mesh.wait_closed()
        if way == "events":
            print("CONNECTED")
            for event in mesh.events():
                pass


try:
    if way.startswith("aio"):
        asyncio.run(on_a_loop())
    else:
        in_a_thread()
except KeyboardInterrupt:
    print("INTERRUPTED")
"""

STALLS = {"connect": "/agents/connect", "create_session": "/sessions/init"}


@pytest.mark.parametrize(
    "way",
    [
        "connect",
        "create_session",
        "wait_closed",
        "events",
        "aio_connect",
        "aio_create_session",
        "aio_wait_closed",
    ],
)
def test_ctrl_c_ends_every_wait(gateway: Gateway, run_python: RunPython, way: str) -> None:
    what = way.removeprefix("aio_")
    if what in STALLS:
        gateway.set_faults(stall="welcome" if what == "connect" else "session_init")
    program = run_python(WAITING, gateway=gateway, arguments=[way])
    if what in STALLS:
        wait_for(
            lambda: any(r["path"] == STALLS[what] for r in gateway.requests()), f"a request {STALLS[what]}"
        )
    else:
        program.wait_line("CONNECTED")
    program.signal(signal.SIGINT)
    program.wait_line("INTERRUPTED")
    assert program.wait() == 0, program.story()
    assert "Traceback" not in program.stderr, program.story()
    gateway.set_faults()
    wait_for(lambda: not gateway.agent() or not gateway.agent()["open_sockets"], "no socket left open")


SERVING = """
import logging, sys, threading

from svantic import Agent

# What run() says of itself is the sign that a signal has been taken.
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
agent = Agent(name="serving", description="Serves until it is told to stop")


@agent.capability
def work(n: int) -> int:
    "Works until a line comes."
    print("WORKING")
    sys.stdin.readline()
    return n


if sys.argv[1] == "aio":

    @agent.capability
    async def unused() -> None:
        "Makes run() an event loop's."


agent.run(**({"drain_timeout_ms": int(sys.argv[2])} if len(sys.argv) > 2 else {}))
print("RETURNED")
"""


def draining(gateway: Gateway) -> bool:
    """Whether the mesh has been told that the agent is about to end."""
    return bool(gateway.agent()) and "draining" in gateway.statuses()


@pytest.mark.parametrize("face", ["sync", "aio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_answer_in_flight_arrives(
    gateway: Gateway, run_python: RunPython, face: str, number: signal.Signals
) -> None:
    program = run_python(SERVING, gateway=gateway, arguments=[face])
    gateway.wait_ready()
    (dispatch_id,) = gateway.dispatch_many("work", {"n": 5}, count=1)
    program.wait_line("WORKING")
    program.signal(number)
    wait_for(lambda: draining(gateway), "the status draining")
    refused = gateway.dispatch("work", {"n": 6})
    assert refused.code == "AGENT_SHUTDOWN"
    program.say("")
    assert gateway.answers([dispatch_id])[0].result == 5
    program.wait_line("RETURNED")
    assert program.wait() == 0, program.story()
    assert "Traceback" not in program.stderr, program.story()
    gateway.wait_gone()


@pytest.mark.parametrize("face", ["sync", "aio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(
    gateway: Gateway, run_python: RunPython, face: str, number: signal.Signals
) -> None:
    # Draining alone would take an hour.
    program = run_python(SERVING, gateway=gateway, arguments=[face, "3600000"])
    gateway.wait_ready()
    gateway.dispatch_many("work", {"n": 5}, count=1)
    program.wait_line("WORKING")
    program.signal(number)
    wait_for(lambda: draining(gateway), "the status draining")
    program.signal(number)
    status = program.wait()
    assert status in (-number, 128 + number, 1), program.story()
    assert "RETURNED" not in program.lines


def test_a_signal_while_run_is_still_connecting_ends_it(gateway: Gateway, run_python: RunPython) -> None:
    gateway.set_faults(stall="welcome")
    program = run_python(SERVING, gateway=gateway, arguments=["sync"])
    wait_for(lambda: any(r["path"] == "/agents/connect" for r in gateway.requests()), "an upgrade")
    program.signal(signal.SIGTERM)
    program.wait()
    assert "Fatal" not in program.stderr, program.story()


def test_run_leaves_the_signal_handlers_as_they_were(gateway: Gateway, run_python: RunPython) -> None:
    program = run_python(
        """
        import signal
        from svantic import Agent

        def mine(number, frame):
            print("MINE")

        signal.signal(signal.SIGTERM, mine)
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        Agent(name="polite", description="Gives back what it took").run()
        print("SAME", before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))
        """,
        gateway=gateway,
    )
    gateway.wait_ready()
    program.signal(signal.SIGTERM)
    assert program.wait_line("SAME") == "True", program.story()
    assert program.wait() == 0, program.story()


def test_run_in_another_thread_serves_without_signal_handlers(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(
        """
        import threading
        from svantic import Agent

        agent = Agent(name="aside", description="Runs beside the main thread")

        @agent.capability
        def quick() -> str:
            "Answers at once."
            return "done"

        threading.Thread(target=agent.run, daemon=True).start()
        input()
        """,
        gateway=gateway,
    )
    gateway.wait_ready()
    assert gateway.dispatch("quick").result == "done"
    program.say("")
    assert program.wait() == 0, program.story()
    gateway.wait_gone()
