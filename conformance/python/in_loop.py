"""The delivery `asyncio`: coroutines. Each operation is a task."""

from __future__ import annotations

import asyncio
import inspect
import signal
import sys
from typing import TYPE_CHECKING, Any, Callable

import observed

import svantic
import svantic.aio

if TYPE_CHECKING:
    from driver import Driver


async def drive(driver: Driver) -> None:
    """Obeys the lines of stdin until there are no more, and leaves."""
    driver.open(svantic.aio.MeshConnector)
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    loop.add_signal_handler(signal.SIGTERM, stdin.feed_eof)
    tasks = []

    async def perform(command: observed.Command, call: Callable[[], Any]) -> None:
        token = observed.current.set(command)
        try:
            value = call()
            if inspect.isawaitable(value):
                value = await value
        except svantic.SvanticError as error:
            driver.print_done(command, None, error)
        else:
            driver.print_done(command, value, None)
        finally:
            observed.current.reset(token)

    def start(number: int, text: str) -> None:
        tasks.append(loop.create_task(perform(observed.Command(number), driver.operation(text))))

    start(observed.FIRST_CONNECT, "connect")
    number = 0
    while True:
        line = (await stdin.readline()).decode()
        if not line or line.strip() == "quit":
            break
        number += 1
        start(number, line.rstrip("\n"))
    await perform(observed.Command(observed.LEAVING), driver.operation("disconnect"))
    await driver.mesh.close()
    await asyncio.gather(*tasks)
