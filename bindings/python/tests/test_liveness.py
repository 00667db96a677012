"""R-27 and R-27b: a handler that blocks the interpreter does not reach the link; a wedged application shows.

The interpreter lock is held from C (``ctypes.PyDLL`` does not release it) in a read from stdin: it is let go
by a byte, so the tests hold it exactly as long as they want to. ``SVANTIC_TEST_BLOCKED_S`` (15; the full size
is 120) is how many heartbeats, one a second, must arrive meanwhile.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from gateway import GUARD_S, Gateway, wait_for

if TYPE_CHECKING:
    from conftest import RunPython, StartGateway

BLOCKED_S = int(os.environ.get("SVANTIC_TEST_BLOCKED_S", "15"))

BLOCKING = """
import ctypes, itertools, sys, threading

from svantic import Agent, MeshConnector

agent = Agent(name="blocking", description="Holds the interpreter lock")
keep_the_lock = ctypes.PyDLL(None)
ticks = itertools.count()
ending = threading.Event()


def tick():
    # The witness: another thread of this interpreter, which cannot run while the lock is held.
    while not ending.wait(0.05):
        next(ticks)


def block():
    before = next(ticks)
    keep_the_lock.read(0, ctypes.create_string_buffer(1), 1)
    return next(ticks) - before


if sys.argv[1] == "aio":

    @agent.capability
    async def hold() -> int:
        "Holds the lock on the loop; how often another thread ran meanwhile."
        return block()

else:

    @agent.capability
    def hold() -> int:
        "Holds the lock in a thread; how often another thread ran meanwhile."
        return block()


threading.Thread(target=tick, daemon=True).start()
agent.run(heartbeat_interval_ms=1000, ping_interval_ms=500, dead_after_ms=20000, dispatch_timeout_ms=600000)
ending.set()
"""


def test_r27_a_handler_that_holds_the_interpreter_lock_stops_no_heartbeat_and_no_pong(
    start_gateway: StartGateway, run_python: RunPython
) -> None:
    gateway = start_gateway("--server-ping", "0.25")
    faces = ("sync", "aio")
    programs = [
        run_python(BLOCKING, gateway=gateway, arguments=[face], environment={"SVANTIC_INSTANCE_ID": face})
        for face in faces
    ]
    ids = []
    for face in faces:
        gateway.wait_ready(face)
        ids += gateway.dispatch_many("hold", count=1, instance_id=face)
    wait_for(lambda: all(entry["sends"] for entry in gateway.ledger()), "the dispatches on their way")

    def counted() -> list[int]:
        agents = [gateway.agent(face) for face in faces]
        return [count for agent in agents for count in (agent["heartbeats"], agent["round_trips"]["pongs"])]

    before = counted()
    wait_for(
        lambda: all(now >= then + BLOCKED_S for now, then in zip(counted(), before)),
        f"{BLOCKED_S} heartbeats and pongs while the lock is held",
        BLOCKED_S + GUARD_S,
    )
    assert gateway.answered() == 0
    for program in programs:
        program.say("")
    for answer in gateway.answers(ids):
        # Once or twice around the hold; it would have run twenty times a second.
        assert answer.result <= 5, f"the lock was not held: another thread ran {answer.result} times"
    for face in faces:
        agent = gateway.agent(face)
        assert (agent["connections"], agent["welcomes"]) == (1, 1), f"{face} reconnected"
        trips = agent["round_trips"]
        assert trips["pings"] - trips["pongs"] <= 1, f"a pong of {face} is missing"
        times = [heartbeat["at"] for heartbeat in gateway.heartbeats(face)]
        gap = max(later - earlier for earlier, later in zip(times, times[1:]))
        print(
            f"{face}: {len(times)} heartbeats, one a second, largest gap {gap:.3f} s; "
            f"{trips['pongs']} pongs, the slowest after {trips['longest'] * 1000:.1f} ms; 0 reconnects"
        )


WEDGED = """
import ctypes, sys, threading

import svantic.aio
from svantic import Agent, MeshConnector

agent = Agent(name="wedged", description="Stops taking work for a while")
options = {"pick_up_timeout_ms": 400, "heartbeat_interval_ms": 500}
keep_the_lock = ctypes.PyDLL(None)


@agent.capability
def quick(n: int) -> int:
    "Answers at once."
    return n


def wedge():
    print("WEDGED")
    # Nothing of this interpreter runs until a byte comes: not the receiving thread, not the loop.
    keep_the_lock.read(0, ctypes.create_string_buffer(1), 1)
    print("FREE")


if sys.argv[1] == "aio":
    import asyncio

    async def main() -> None:
        async with svantic.aio.MeshConnector(agent, **options):
            wedge()
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    asyncio.run(main())
else:
    with MeshConnector(agent, **options):
        wedge()
        sys.stdin.readline()
"""


@pytest.mark.parametrize("face", ["sync", "aio"])
def test_r27b_an_application_that_takes_no_work_is_unhealthy_once_and_available_again(
    gateway: Gateway, run_python: RunPython, face: str
) -> None:
    program = run_python(WEDGED, gateway=gateway, arguments=[face])
    program.wait_line("WEDGED")
    instance_id = gateway.wait_ready()["instance_id"]

    # The pull that waited when the interpreter stopped takes one more batch, which counts as picked up: a
    # first dispatch uses it up, and the heartbeats after it say that it has arrived.
    heartbeats = gateway.agent()["heartbeats"]
    first = gateway.dispatch_many("quick", {"n": 1}, count=1)
    wait_for(lambda: gateway.agent()["heartbeats"] >= heartbeats + 3, "heartbeats after the first dispatch")
    ids = first + gateway.dispatch_many("quick", {"n": 1}, count=5)

    def told() -> list[str]:
        return gateway.statuses(instance_id)

    wait_for(lambda: "unhealthy" in told(), "the status unhealthy")
    silent_for = gateway.agent()["heartbeats"] + 4
    wait_for(lambda: gateway.agent()["heartbeats"] >= silent_for, "four more heartbeats while it is wedged")
    assert gateway.answered() == 0
    program.say("")
    program.wait_line("FREE")
    assert [answer.result for answer in gateway.answers(ids)] == [1] * 6
    back = wait_for(
        lambda: told()[-1] == "available" and gateway.agent()["heartbeats"], "the status available"
    )
    wait_for(lambda: gateway.agent()["heartbeats"] >= back + 4, "four more heartbeats after it")
    assert changes(told()) == ["unhealthy", "available"]
    assert gateway.agent()["connections"] == 1
    program.say("")
    assert program.wait() == 0, program.story()


def changes(statuses: list[Any]) -> list[Any]:
    """The statuses without the one it began with and the one of its farewell."""
    started = statuses[1:] if statuses[:1] == ["available"] else statuses
    return [status for status in started if status != "draining"]
