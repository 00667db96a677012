"""R-41: a forked child is told that it cannot use what its parent opened, nothing hangs, the parent goes on.

``SVANTIC_TEST_FORKS`` (100) is the number of forks under traffic, half of them by ``os.fork``, half by
``multiprocessing``. Each child calls every public function under an alarm that kills it (10 s).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from gateway import Gateway
from interpreters import interpreters

if TYPE_CHECKING:
    from conftest import RunPython

FORKS = int(os.environ.get("SVANTIC_TEST_FORKS", "100"))

FORKING = """
import multiprocessing, os, signal, sys, threading, warnings

import svantic.aio
from svantic import Agent, CapabilityError, ForkedError, MeshConnector

# 3.12 warns of what is tested here.
warnings.simplefilter("ignore", DeprecationWarning)
agent = Agent(name="forking", description="Has children", instance_id="parent")


@agent.capability
def quick(n: int) -> int:
    "Answers at once."
    return n


@agent.capability
def pid() -> int:
    "Which process answers."
    return os.getpid()


def refused(name, call):
    try:
        call()
    except ForkedError as error:
        assert isinstance(error, RuntimeError)
        assert "spawn" in str(error), error
    else:
        raise AssertionError(name + " did not raise ForkedError")


def every_public_function(mesh, amesh):
    import asyncio

    refused("connect", mesh.connect)
    refused("disconnect", mesh.disconnect)
    refused("re_register", mesh.re_register)
    refused("refresh_token", mesh.refresh_token)
    refused("create_session", mesh.create_session)
    refused("close_session", lambda: mesh.close_session("s"))
    refused("network_changed", mesh.network_changed)
    refused("wait_closed", lambda: mesh.wait_closed(5))
    refused("on_event", lambda: mesh.on_event(print))
    refused("events", lambda: next(iter(mesh.events())))
    refused("with", mesh.__enter__)
    refused("snapshot", mesh.snapshot)
    refused("svantic_url", lambda: mesh.svantic_url)
    refused("token", lambda: mesh.token)
    refused("state", lambda: mesh.state)
    refused("stats", lambda: mesh.stats)
    refused("health", lambda: mesh.health)
    refused("connected", lambda: mesh.connected)
    refused("agent_card", lambda: mesh.agent_card)
    refused("MeshConnector", lambda: MeshConnector(agent))
    refused("aio.MeshConnector", lambda: svantic.aio.MeshConnector(agent))
    refused("aio.connect", lambda: asyncio.run(amesh.connect()))
    refused("aio.disconnect", lambda: asyncio.run(amesh.disconnect()))
    refused("aio.create_session", lambda: asyncio.run(amesh.create_session()))
    # These touch nothing.
    mesh.agent, agent.capabilities, agent.name
    repr(mesh), repr(amesh)
    refused("close", mesh.close)
    late = {"name": "late", "description": "Too late", "handler": quick}
    refused("define_capability", lambda: agent.define_capability(**late))


def child():
    # Whoever hangs is killed by this, not by a handler that would have to run.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(10)
    every_public_function(mesh, amesh)


def own_agent(instance_id):
    # In a spawned process everything is new.
    spawned = Agent(name="spawned", description="Has a parent", instance_id=instance_id)
    with MeshConnector(spawned) as mesh:
        assert mesh.connected


if __name__ == "__main__":
    forks = int(sys.argv[1])
    mesh = MeshConnector(agent, max_pending_dispatches=100000)
    amesh = svantic.aio.MeshConnector(agent)
    mesh.connect()
    print("CONNECTED")
    input()
    failures = []
    fork = multiprocessing.get_context("fork")
    for number in range(forks):
        if number % 2:
            process = fork.Process(target=child)
            process.start()
            process.join()
            status = process.exitcode
        else:
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    child()
                    status = 0
                except BaseException:
                    import traceback

                    traceback.print_exc()
                # Every other child ends like a program, with its atexit functions.
                if number % 4:
                    os._exit(status)
                sys.exit(status)
            status = os.waitpid(pid, 0)[1]
        if status:
            failures.append((number, status))
            if len(failures) > 3:
                break
    print("FAILURES", failures)
    spawn = multiprocessing.get_context("spawn").Process(target=own_agent, args=("spawned",))
    spawn.start()
    spawn.join()
    print("SPAWNED", spawn.exitcode)
    input()
    mesh.disconnect()
"""


@pytest.mark.parametrize("version", list(interpreters()))
def test_r41_a_forked_child_is_refused_everything_and_its_parent_serves_on(
    gateway: Gateway, run_python: RunPython, version: str
) -> None:
    # All of them on the running interpreter, a tenth on each other one.
    python = interpreters()[version]
    forks = FORKS if python == _running() else max(2, FORKS // 10)
    program = run_python(FORKING, python=python, gateway=gateway, arguments=[str(forks)])
    program.wait_line("CONNECTED")
    program.say("")
    ids: list[str] = []
    # Traffic until the last fork: one load after the other.
    while not any(line.startswith("FAILURES") for line in program.lines):
        ids += gateway.dispatch_many("quick", {"n": 7}, count=200, instance_id="parent")
        assert gateway.answers(ids[-200:])[0].result == 7, program.story()
        assert program.process.poll() is None, program.story()
    assert program.wait_line("FAILURES") == "[]", program.story()
    assert program.wait_line("SPAWNED") == "0", program.story()
    assert gateway.dispatch("pid", instance_id="parent").result == program.pid
    program.say("")
    assert program.wait() == 0, program.story()
    parent = gateway.agent("parent")
    assert (parent["connections"], parent["deregistrations"]) == (1, 1)
    assert all(entry["copies"] == 1 for entry in gateway.ledger())
    assert gateway.agent("spawned")["deregistrations"] == 1
    print(f"CPython {version}: {forks} forks, {len(ids)} dispatches answered meanwhile")


def _running() -> str:
    import sys

    return interpreters()["{}.{}".format(*sys.version_info)]


BEFORE = """
import os, sys

pid = os.fork()
if pid:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

from svantic import Agent, MeshConnector

with MeshConnector(Agent(name="child", description="Is the only one to use the package")) as mesh:
    assert mesh.connected
"""


def test_a_child_that_was_forked_before_the_first_use_is_free_to_use_the_package(
    gateway: Gateway, run_python: RunPython
) -> None:
    program = run_python(BEFORE, gateway=gateway)
    assert program.wait() == 0, program.story()
    assert gateway.agent()["deregistrations"] == 1
