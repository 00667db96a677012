"""The delivery `sync`: blocking calls. Each operation has a thread of its own, since none may keep the next command waiting."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, Callable

import observed

import svantic

if TYPE_CHECKING:
    from driver import Driver

#: How long an operation may take to reach the library, in seconds.
GUARD = 60.0


def drive(driver: Driver) -> None:
    """Obeys the lines of stdin until there are no more, and leaves."""
    driver.open(svantic.MeshConnector)
    # As at the end of the input, which then comes: the next read finds nothing more.
    nothing = os.open(os.devnull, os.O_RDONLY)
    signal.signal(signal.SIGTERM, lambda *_: os.dup2(nothing, sys.stdin.fileno()))

    def perform(command: observed.Command, call: Callable[[], Any]) -> None:
        token = observed.current.set(command)
        try:
            value = call()
        except svantic.SvanticError as error:
            driver.print_done(command, None, error)
        else:
            driver.print_done(command, value, None)
        finally:
            observed.current.reset(token)
            command.is_under_way.set()

    def start(number: int, text: str) -> None:
        command = observed.Command(number)
        threading.Thread(target=perform, args=(command, driver.operation(text)), daemon=True).start()
        command.is_under_way.wait(GUARD)  # They reach the library in the order in which they were given.

    start(observed.FIRST_CONNECT, "connect")
    for number, line in enumerate(iter(sys.stdin.readline, ""), 1):
        if line.strip() == "quit":
            break
        start(number, line.rstrip("\n"))
    perform(observed.Command(observed.LEAVING), driver.operation("disconnect"))
    driver.mesh.close()
