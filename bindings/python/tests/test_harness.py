"""The harness itself, without the package: gateways that end with their test, programs that are guarded."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING

import pytest
from gateway import Gateway, Refused, wait_for
from interpreters import Ended, interpreters

if TYPE_CHECKING:
    from conftest import RunPython, StartGateway


def test_a_gateway_answers_on_a_free_port_and_says_who_is_nobody_there(gateway: Gateway) -> None:
    assert gateway.agents() == []
    assert gateway.environment["SVANTIC_URL"] == gateway.options["svantic_url"] == gateway.url
    assert gateway.issue_token().count(".") == 2
    with pytest.raises(Refused) as refused:
        gateway.dispatch("anything")
    assert refused.value.status == 503


def test_a_killed_gateway_refuses_connections_and_comes_back_on_its_port(start_gateway: StartGateway) -> None:
    gateway = start_gateway("--token-ttl", "60", faults={"stall": "welcome"})
    url, secret = gateway.url, gateway.client_secret
    gateway.kill()
    with pytest.raises(OSError):
        gateway.totals()
    gateway.start()
    assert (gateway.url, gateway.client_secret) == (url, secret)
    assert gateway.issue_token()


def test_many_dispatches_leave_at_once_and_wait_in_the_ledger(gateway: Gateway) -> None:
    ids = gateway.dispatch_many("nobody", {"n": 1}, count=3) + gateway.dispatch_many("nobody", count=1)
    assert [entry["id"] for entry in gateway.ledger()] == ids
    assert len(set(ids)) == 4


def test_a_program_is_read_line_by_line_and_told_signals(run_python: RunPython) -> None:
    program = run_python(
        """
        import signal, sys, threading
        told = threading.Event()
        signal.signal(signal.SIGUSR1, lambda *_: told.set())
        print("READY", sys.stdin.readline().strip())
        told.wait()
        print("SIGNALLED")
        sys.exit(7)
        """
    )
    program.say("hello")
    assert program.wait_line("READY") == "hello"
    program.signal(signal.SIGUSR1)
    program.wait_line("SIGNALLED")
    assert program.wait() == 7
    with pytest.raises(Ended):
        program.wait_line("NEVER")


def test_a_program_that_hangs_says_where(run_python: RunPython) -> None:
    program = run_python("import threading\nprint('READY')\nthreading.Event().wait()\n")
    program.wait_line("READY")
    with pytest.raises(AssertionError, match="(?s)it hangs.*program_1.py"):
        program.wait(guard=0.1)


def test_the_running_interpreter_is_among_those_that_are_found() -> None:
    assert "{}.{}".format(*sys.version_info) in interpreters()


def test_a_condition_that_never_comes_is_named() -> None:
    with pytest.raises(AssertionError, match="never came: peace"):
        wait_for(lambda: False, "peace", guard=0)


def test_a_paused_gateway_goes_on(gateway: Gateway) -> None:
    gateway.pause()
    with socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=5):
        gateway.resume()
        assert gateway.totals()["dispatched"] == 0
