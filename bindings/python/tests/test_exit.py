"""R-40: an interpreter ends in every way while dispatches are running, on every CPython that is found.

``SVANTIC_TEST_EXITS`` (20; the full size is 500) is the number of programs an interpreter; they take turns
through ``WAYS``. Each has dispatches running, answered and queued when it ends. None may hang, abort or say
anything of a crash, and whoever ends in an orderly way says goodbye to the mesh.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest
from gateway import GUARD_S, Gateway, wait_for
from interpreters import Program, interpreters

if TYPE_CHECKING:
    from conftest import RunPython, StartGateway

EXITS = int(os.environ.get("SVANTIC_TEST_EXITS", "20"))
#: Programs that run at a time: starting an interpreter leaves a processor idle now and then.
AT_ONCE = 3
LOAD = 300
CRASH = (
    "Fatal Python error",
    "FATAL: exception not rethrown",
    "Segmentation fault",
    "panicked at",
    "core dumped",
)


class Way(NamedTuple):
    """How a program ends: its exit status, by which signal, whether a handler calls sys.exit (which ends its
    thread, or its loop), whether the mesh hears a farewell, and how many tracebacks belong to it."""

    status: int
    signal: int = 0
    leaves: bool = False
    farewell: bool = True
    tracebacks: int | None = 0


WAYS = {
    "end_of_main": Way(0),
    "end_of_with": Way(0),
    "unhandled_exception": Way(1, tracebacks=1),
    "sys_exit_in_main": Way(4),
    "run_sys_exit_in_handler": Way(0, signal.SIGTERM, leaves=True, tracebacks=1),
    "run_sigterm": Way(0, signal.SIGTERM),
    "default_sigterm": Way(-signal.SIGTERM, signal.SIGTERM, farewell=False),
    "os_exit": Way(5, farewell=False),
    "aio_end_of_loop": Way(0),
    "aio_unhandled_exception": Way(1, tracebacks=1),
    "aio_run_sigterm": Way(0, signal.SIGTERM),
    # asyncio itself adds some, depending on its version.
    "aio_run_sys_exit_in_handler": Way(3, leaves=True, tracebacks=None),
}

PROGRAM = """
import itertools, os, sys, threading

from svantic import Agent, MeshConnector

way = sys.argv[1]
agent = Agent(name="exiting", description="Ends in every way")
answered = itertools.count(1)
working = threading.Event()


def at_work():
    if next(answered) == 50:
        print("WORKING")
        working.set()


@agent.capability
def quick(n: int) -> int:
    "Answers at once."
    at_work()
    return n


@agent.capability
def stuck() -> None:
    "Never answers."
    threading.Event().wait()


# Who drains does not wait for what is stuck.
options = {"drain_timeout_ms": 200}

if way != "aio_run_sys_exit_in_handler":

    @agent.capability
    def leave() -> None:
        "Ends its thread."
        sys.exit(3)


if way.startswith("run_"):
    agent.run(**options)
elif way.startswith("aio_"):
    import asyncio

    import svantic.aio

    @agent.capability
    async def stuck_too() -> None:
        "Never answers, on the loop."
        await asyncio.Event().wait()

    async def main() -> None:
        mesh = svantic.aio.MeshConnector(agent, **options)
        await mesh.connect()
        while not working.is_set():
            await asyncio.sleep(0.001)
        if way == "aio_unhandled_exception":
            raise RuntimeError("as planned")

    if way == "aio_run_sys_exit_in_handler":

        @agent.capability
        async def leave() -> None:
            "Ends the loop."
            sys.exit(3)

    if way.startswith("aio_run_"):
        agent.run(**options)
    else:
        asyncio.run(main())
else:
    mesh = MeshConnector(agent, **options)
    if way == "end_of_with":
        with mesh:
            working.wait()
    else:
        mesh.connect()
        working.wait()
    if way == "unhandled_exception":
        raise RuntimeError("as planned")
    if way == "sys_exit_in_main":
        sys.exit(4)
    if way == "os_exit":
        os._exit(5)
    if way == "default_sigterm":
        threading.Event().wait()
"""


def end_one(run_python: RunPython, gateway: Gateway, python: str, instance_id: str, name: str) -> float:
    """Runs one program to its end; the seconds from the cause to the end."""
    way = WAYS[name]
    environment = {"SVANTIC_INSTANCE_ID": instance_id}
    program = run_python(PROGRAM, python=python, gateway=gateway, environment=environment, arguments=[name])
    wait_for(
        lambda: program.process.poll() is not None or gateway.agent(instance_id).get("ready"),
        f"{instance_id}: a connection",
    )
    send = gateway.dispatch_many
    send("stuck", count=3, instance_id=instance_id)
    if name.startswith("aio_"):
        send("stuck_too", count=3, instance_id=instance_id)
    send("quick", {"n": 1}, count=LOAD, instance_id=instance_id)
    program.wait_line("WORKING")
    send("quick", {"n": 2}, count=LOAD, instance_id=instance_id)
    if way.leaves:
        leaving = send("leave", count=1, instance_id=instance_id)
        assert gateway.answers(leaving)[0].code == "HANDLER_ERROR", program.story()
    began = time.monotonic()
    if way.signal:
        program.signal(way.signal)
    check_end(program, name, way)
    took = time.monotonic() - began
    if way.farewell:
        gateway.wait_gone(instance_id)
    return took


def check_end(program: Program, name: str, way: Way) -> None:
    status = program.wait(GUARD_S)
    assert status == way.status, f"{name}\n{program.story()}"
    assert not any(crash in program.stderr for crash in CRASH), f"{name}\n{program.story()}"
    if way.tracebacks is not None:
        assert program.stderr.count("Traceback") == way.tracebacks, f"{name}\n{program.story()}"


@pytest.mark.parametrize("version", list(interpreters()))
def test_r40_no_exit_hangs_or_aborts_with_work_in_flight(
    start_gateway: StartGateway, run_python: RunPython, version: str
) -> None:
    gateway = start_gateway()
    python = interpreters()[version]
    names = list(itertools.islice(itertools.cycle(WAYS), EXITS))
    ids = [f"exit-{version}-{number}" for number in range(EXITS)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        took = list(
            pool.map(lambda each: end_one(run_python, gateway, python, each[0], each[1]), zip(ids, names))
        )
    slowest = max(took)
    way = names[took.index(slowest)]
    print(f"CPython {version}: {len(took)} exits, the slowest after {slowest:.2f} s ({way})")
    assert gateway.violations() == []


FORGOTTEN = """
from svantic import Agent, MeshConnector

agent = Agent(name="forgetful", description="Never closes anything")


@agent.capability
def quick() -> str:
    "Answers at once."
    return "done"


mesh = MeshConnector(agent)
mesh.connect()
print("CONNECTED")
input()
"""


def test_who_forgets_to_close_ends_by_itself_and_the_mesh_hears_a_farewell(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(FORGOTTEN, gateway=gateway)
    program.wait_line("CONNECTED")
    assert gateway.dispatch("quick").result == "done"
    program.say("")
    assert program.wait() == 0, program.story()
    agent = gateway.wait_gone()
    assert agent["deregistrations"] == 1


FORGOTTEN_LOOP = """
import asyncio, gc, sys, warnings

import svantic.aio
from svantic import Agent

warnings.simplefilter("always", ResourceWarning)
agent = Agent(name="forgetful", description="Never closes anything")


@agent.capability
async def quick() -> str:
    "Answers at once."
    return "done"


async def main(keep) -> None:
    mesh = svantic.aio.MeshConnector(agent)
    keep.append(mesh)
    await mesh.connect()
    print("CONNECTED")
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


kept = []
asyncio.run(main(kept))
print("LOOP CLOSED", kept[0].connected)
if len(sys.argv) > 1:
    kept.clear()
    gc.collect()
    print("COLLECTED")
    input()
"""


@pytest.mark.parametrize("collected", [False, True])
def test_a_loop_that_closes_before_its_connector_takes_nothing_down(
    gateway: Gateway, run_python: RunPython, collected: bool
) -> None:
    program = run_python(FORGOTTEN_LOOP, gateway=gateway, arguments=["collect"] if collected else [])
    program.wait_line("CONNECTED")
    assert gateway.dispatch("quick").result == "done"
    program.say("")
    program.wait_line("LOOP CLOSED")
    if collected:
        program.wait_line("COLLECTED")
        gateway.wait_gone()
        program.say("")
    assert program.wait() == 0, program.story()
    gateway.wait_gone()
    assert "Traceback" not in program.stderr, program.story()
    assert ("ResourceWarning" in program.stderr) or not collected, program.story()
