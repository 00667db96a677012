"""``agent.run()`` as a whole program."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway import Gateway, wait_for

if TYPE_CHECKING:
    from conftest import RunPython

PROGRAM = """
import asyncio, threading
from svantic import Agent

agent = Agent(name="whole", description="A program", instance_id="whole-1")

@agent.capability
{word}def take_a_while(n: int) -> int:
    "Takes a moment."
    print("running", flush=True)
    {sleep}
    return n

agent.run()
print("left", flush=True)
"""
FACES = {
    "sync": {"word": "", "sleep": "threading.Event().wait(0.3)"},
    "aio": {"word": "async ", "sleep": "await asyncio.sleep(0.3)"},
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_running_calls_finish_and_leaves_the_mesh(
    gateway: Gateway, run_python: RunPython, face: str, number: int
) -> None:
    program = run_python(PROGRAM.format(**FACES[face]), gateway=gateway)
    gateway.wait_ready("whole-1")
    ids = gateway.dispatch_many("take_a_while", {"n": 5}, count=1)
    program.wait_line("running")
    program.signal(number)
    program.wait_line("left")
    assert program.wait() == 0
    assert gateway.answers(ids)[0].result == 5
    gateway.wait_gone("whole-1")
    assert "Traceback" not in program.stderr and "was never" not in program.stderr
    assert "connected to" in program.stderr


@pytest.mark.parametrize("face", FACES)
def test_a_signal_while_it_connects_ends_it_without_noise(
    gateway: Gateway, run_python: RunPython, face: str
) -> None:
    gateway.set_faults(stall="register")
    program = run_python(PROGRAM.format(**FACES[face]), gateway=gateway)
    wait_for(lambda: any(r["path"] == "/agents/register" for r in gateway.requests()), "a registration")
    program.signal(signal.SIGTERM)
    program.wait_line("left")
    assert program.wait() == 0
    assert "Traceback" not in program.stderr and "was never" not in program.stderr


@pytest.mark.parametrize("face", FACES)
def test_a_signal_that_another_thread_takes_ends_it_too(
    gateway: Gateway, run_python: RunPython, face: str
) -> None:
    # The system chooses the thread: under load it is not always the main one, which then sleeps on.
    source = PROGRAM.format(**{**FACES[face], "sleep": "pass"}) + "\n"
    source = source.replace(
        "agent.run()",
        """
@agent.capability
def signal_this_thread() -> None:
    "Has its own thread take the signal."
    import signal
    assert threading.current_thread() is not threading.main_thread()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

agent.run()""",
    )
    program = run_python(source, gateway=gateway)
    gateway.wait_ready("whole-1")
    wait_for(lambda: "connected to" in program.stderr, "the wait for signals")
    gateway.dispatch_many("signal_this_thread", count=1)
    program.wait_line("left")
    assert program.wait() == 0
    gateway.wait_gone("whole-1")


@pytest.mark.parametrize("face", FACES)
def test_a_signal_that_another_thread_takes_while_nothing_runs_ends_it_too(
    gateway: Gateway, run_python: RunPython, tmp_path: Path, face: str
) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    source = PROGRAM.format(**FACES[face]).replace(
        "agent.run()",
        f"""
def signal_this_thread() -> None:
    import signal
    open({str(told)!r}).close()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

threading.Thread(target=signal_this_thread, daemon=True).start()
agent.run()""",
    )
    program = run_python(source, gateway=gateway)
    gateway.wait_ready("whole-1")
    wait_for(lambda: "connected to" in program.stderr, "the wait for signals")
    told.open("w").close()
    program.wait_line("left")
    assert program.wait() == 0
    gateway.wait_gone("whole-1")


@pytest.mark.parametrize("face", FACES)
def test_what_ends_the_agent_is_raised(gateway: Gateway, run_python: RunPython, face: str) -> None:
    source = PROGRAM.format(**FACES[face]).replace("agent.run()", "agent.run(auto_reconnect=False)")
    program = run_python(source, gateway=gateway)
    gateway.wait_ready("whole-1")
    gateway.close("whole-1", 4003)
    assert program.wait() == 1
    assert "NetworkError" in program.stderr
    refused = run_python(source, gateway=gateway, environment={"SVANTIC_CLIENT_SECRET": "wrong" * 8})
    assert refused.wait() == 1
    assert "AuthError" in refused.stderr
