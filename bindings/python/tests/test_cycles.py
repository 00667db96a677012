"""R-40: connectors come and go, and the process stays as large as it was.

``SVANTIC_TEST_CYCLES`` (1000) is the number of create/use/drop cycles; they take turns in how they end.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from gateway import Gateway, wait_for

if TYPE_CHECKING:
    from conftest import RunPython

CYCLES = int(os.environ.get("SVANTIC_TEST_CYCLES", "1000"))
#: What an allocator may keep for itself; a connector that stays is about a tenth of this a cycle.
GROWTH_LIMIT_BYTES = 12 << 20

CYCLING = """
import asyncio, gc, json, os, sys, threading, time, warnings

import svantic.aio
from svantic import Agent, MeshConnector

warnings.simplefilter("ignore", ResourceWarning)
cycles = int(sys.argv[1])


def make(number):
    agent = Agent(name="cycling", description="Comes and goes", instance_id=f"cycling-{number}")

    @agent.capability
    def quick(n: int) -> int:
        "Answers at once."
        return n

    @agent.capability
    async def slow(n: int) -> int:
        "Answers on a loop."
        return n

    return agent


def closed(number):
    with MeshConnector(make(number)) as mesh:
        mesh.close_session(mesh.create_session())


def disconnected(number):
    mesh = MeshConnector(make(number))
    mesh.on_event(lambda event: None)
    mesh.connect()
    mesh.disconnect()


def forgotten(number):
    MeshConnector(make(number)).connect()


def unused(number):
    MeshConnector(make(number))


def on_a_loop(number):
    async def main():
        async with svantic.aio.MeshConnector(make(number)) as mesh:
            await mesh.close_session(await mesh.create_session())

    asyncio.run(main())


def forgotten_on_a_loop(number):
    async def main():
        await svantic.aio.MeshConnector(make(number)).connect()

    asyncio.run(main())


WAYS = [closed, disconnected, forgotten, unused, on_a_loop, forgotten_on_a_loop]


def size():
    gc.collect()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "threads": threading.active_count(),
        "tasks": len(os.listdir("/proc/self/task")),
        "fds": len(os.listdir("/proc/self/fd")),
        "bytes": resident,
    }


def settled(before):
    # A farewell may still be on its way when the next cycle begins.
    for _ in range(3000):
        now = size()
        if before is None or all(now[key] <= before[key] for key in ("threads", "tasks", "fds")):
            break
        time.sleep(0.01)
    return now


before = None
for number in range(cycles):
    if number == max(cycles // 10, len(WAYS)):
        time.sleep(0)
        before = settled({"threads": 1, "tasks": 4, "fds": 16})
    WAYS[number % len(WAYS)](number)
    if number % 10 == 9:
        gc.collect()
print("SIZES", json.dumps([before, settled(before)]))
"""


def test_r40_a_thousand_cycles_leave_no_thread_no_descriptor_and_no_memory(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(CYCLING, gateway=gateway, arguments=[str(CYCLES)])
    before, after = json.loads(program.wait_line("SIZES", guard=60 + CYCLES))
    assert program.wait() == 0, program.story()
    print(f"{CYCLES} cycles: {before} before, {after} after")
    assert after["threads"] <= before["threads"], program.story()
    assert after["tasks"] <= before["tasks"]
    assert after["fds"] <= before["fds"]
    assert after["bytes"] - before["bytes"] < GROWTH_LIMIT_BYTES
    wait_for(
        lambda: not any(a["registered"] or a["open_sockets"] for a in gateway.agents()), "every farewell"
    )
    assert len(gateway.agents()) == CYCLES - CYCLES // 6 - (CYCLES % 6 > 3)
    assert gateway.violations() == []


COLLECTED = """
import asyncio, gc, os, sys, threading, time, warnings, weakref

import svantic.aio
from svantic import Agent, MeshConnector

agent = Agent(name="collected", description="Is forgotten while it works")
started = threading.Event()
go_on = threading.Event()


@agent.capability
def work(n: int) -> int:
    "Works until it is told to stop."
    started.set()
    go_on.wait()
    return n


@agent.capability
async def wait(n: int) -> int:
    "The same on a loop."
    started.set()
    await asyncio.Event().wait()
    return n


def forget_one():
    mesh = MeshConnector(agent, drain_timeout_ms=300)
    mesh.connect()
    print("CONNECTED")
    started.wait()
    return weakref.ref(mesh)


async def forget_another():
    mesh = svantic.aio.MeshConnector(agent, drain_timeout_ms=300)
    await mesh.connect()
    print("CONNECTED")
    while not started.is_set():
        await asyncio.sleep(0.001)
    gone = weakref.ref(mesh)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del mesh
        gc.collect()
    print("GONE", gone() is None, [w.category.__name__ for w in caught])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


if sys.argv[1] == "aio":
    asyncio.run(forget_another())
else:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gone = forget_one()
        gc.collect()
    print("GONE", gone() is None, [w.category.__name__ for w in caught])
    input()
go_on.set()
while threading.active_count() > 1:
    time.sleep(0.01)
print("NO THREAD LEFT")
"""


@pytest.mark.parametrize(
    ("face", "skill"), [("sync", "work"), ("sync", "wait"), ("aio", "work"), ("aio", "wait")]
)
def test_a_connector_collected_with_work_in_flight_warns_and_says_goodbye_and_leaves_no_thread(
    gateway: Gateway, run_python: RunPython, face: str, skill: str
) -> None:
    program = run_python(COLLECTED, gateway=gateway, arguments=[face])
    program.wait_line("CONNECTED")
    gateway.dispatch_many(skill, {"n": 1}, count=3)
    assert program.wait_line("GONE") == "True ['ResourceWarning']", program.story()
    wait_for(lambda: not gateway.agent()["registered"], "the farewell of a collected connector")
    program.say("")
    program.wait_line("NO THREAD LEFT")
    assert program.wait() == 0, program.story()
    assert "Traceback" not in program.stderr, program.story()
